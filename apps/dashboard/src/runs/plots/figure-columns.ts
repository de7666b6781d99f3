// The figures of runs that plots draw, from the columns of the server's answer.
import type { ListFiguresResponse } from '../../generated/espalier/v1/run_service_pb.js';

/** A run as a plot knows it. */
export interface DrawnRun {
  runId: string;
  name: string;
  numbers: Readonly<Record<string, number>>;
  texts: Readonly<Record<string, string>>;
}

export const valueOf = ({ numbers }: DrawnRun, figure: string): number | undefined => numbers[figure];

/** Turns the columns of an answer into runs. */
export function runsOf({ runIds, names, columns }: Pick<ListFiguresResponse, 'runIds' | 'names' | 'columns'>): DrawnRun[] {
  return runIds.map((runId, index) => {
    const numbers: Record<string, number> = {};
    const texts: Record<string, string> = {};
    for (const { name, numbers: ofAll, texts: ofEach } of columns) {
      const value = ofAll[index];
      if (value !== undefined && Number.isFinite(value)) numbers[name] = value;
      if (ofEach[index] !== undefined) texts[name] = ofEach[index];
    }
    return { runId, name: names[index] ?? '', numbers, texts };
  });
}

/** Replaces the changed runs. One that no longer matches is gone, and a new one comes last. */
export const withChanged = (runs: readonly DrawnRun[], changed: readonly string[], fresh: readonly DrawnRun[]): DrawnRun[] => {
  const found = new Map(fresh.map((run) => [run.runId, run]));
  const kept = runs.flatMap((run) => (changed.includes(run.runId) ? (found.get(run.runId) ?? []) : run));
  const known = new Set(runs.map(({ runId }) => runId));
  return [...kept, ...fresh.filter(({ runId }) => !known.has(runId))];
};
