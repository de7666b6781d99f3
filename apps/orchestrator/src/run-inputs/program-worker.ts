// A worker thread that solves mixed-integer programs with HiGHS, so that the server goes on meanwhile. It posts each solution.
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type * as Highs from 'highs';

/** The names of the variables that are 1; null: the program has no solution. */
export type Solution = string[] | null;

// The package's types describe the file that `require` finds.
const loadHighs = createRequire(import.meta.url)('highs') as typeof Highs.default.default;
void loadHighs().then((highs) => {
  for (const program of workerData as string[]) {
    const { Status, Columns } = highs.solve(program, { mip_rel_gap: 0, random_seed: 0 });
    const solution = Object.entries(Columns).flatMap(([name, { Primal }]) => ((Primal ?? 0) > 0.5 ? [name] : []));
    parentPort!.postMessage(Status === 'Optimal' ? solution : null);
  }
});
