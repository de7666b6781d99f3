// Gives up an engine that answers its health checks but never ends a step. The time that a step may take is learnt from the steps before. A
// step may take longer while others have the processors: an engine that waited for them longer than it ran is starved, and does not hang.
import { EspalierError } from '#protocol';
import type { LiveEngine } from './engine-supervisor.js';
import type { ProcessorUse } from '#files';

const FIRST_STEP_MAX_MS = 900_000;
const STEP_MAX_MS_LEAST = 30_000;
/** A step may take this many times as long as the longest before. Steps differ by how much is pruned, and a report may hold several. */
const STEP_TIMEOUT_FACTOR = 20;

export interface StepWatchdog {
  /** Call this when the engine has just reported steps. */
  alive(): void;
  /** Call this when the reports are not read for a while. */
  rest(): void;
  goOn(): void;
}

export function watchProgress(engine: LiveEngine): StepWatchdog {
  let lastMs = Date.now();
  let longestMs = 0;
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    const patienceMs = longestMs === 0 ? FIRST_STEP_MAX_MS : Math.max(STEP_MAX_MS_LEAST, STEP_TIMEOUT_FACTOR * longestMs);
    const before = engine.processorUse();
    timer = setTimeout(() => {
      if (engine.isAwaited() || isStarved(before, engine.processorUse())) {
        wait();
        return;
      }
      engine.giveUp(new EspalierError('ENGINE_HUNG', `no step ended for ${Math.round(patienceMs / 1000)} s`));
    }, patienceMs);
    timer.unref();
  };
  wait();
  return {
    alive() {
      longestMs = Math.max(longestMs, Date.now() - lastMs);
      lastMs = Date.now();
      clearTimeout(timer);
      wait();
    },
    rest: () => clearTimeout(timer),
    goOn() {
      lastMs = Date.now();
      wait();
    },
  };
}

function isStarved(before: ProcessorUse | null, after: ProcessorUse | null): boolean {
  return before !== null && after !== null && after.waitedMs - before.waitedMs > after.ranMs - before.ranMs;
}
