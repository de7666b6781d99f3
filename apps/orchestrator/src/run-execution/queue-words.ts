// Says what a queued run waits for: the engines, which are busy, and the runs whose turn is earlier.
import { counted } from '#protocol';

const SHOWN_ENGINES = 3;

export interface BusyEngine {
  name: string;
  /** The run that it works for. */
  runId: string;
}

/** Returns a text like "an engine that is free: local-1 works for run k3f9xkq2; 2 runs stand before it". */
export function queueWords(busy: readonly BusyEngine[], runsBefore: number): string {
  const words = busy.slice(0, SHOWN_ENGINES).map(({ name, runId }) => `${name} works for run ${runId}`);
  const more = busy.length - words.length;
  if (more > 0) words.push(`${counted(more, 'engine')} more for others`);
  const before = runsBefore === 0 ? '' : `; ${counted(runsBefore, 'run')} ${runsBefore === 1 ? 'stands' : 'stand'} before it`;
  return `an engine that is free${words.length === 0 ? '' : `: ${words.join(', ')}`}${before}`;
}
