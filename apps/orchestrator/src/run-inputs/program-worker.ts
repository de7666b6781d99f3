// A worker thread that solves mixed-integer programs with HiGHS, so that the server goes on meanwhile. It posts each program's solutions.
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type * as Highs from 'highs';

export interface ProgramToSolve {
  text: string;
  /** The number of solutions, the best first. */
  solutions: number;
  /** The number of variables x<i> that are 1 in a solution and 0 in each solution before it. */
  apart: number;
}

/** The names of the variables that are 1. */
export type Solution = string[];

// The package's types describe the file that `require` finds.
const loadHighs = createRequire(import.meta.url)('highs') as typeof Highs.default.default;
void loadHighs().then((highs) => {
  for (const { text, solutions, apart } of workerData as ProgramToSolve[]) {
    const found: Solution[] = [];
    while (found.length < solutions) {
      const cuts = found.map((chosen, index) => ` cut${index}: ${chosen.join(' + ')} <= ${chosen.length - apart}\n`);
      const program = text.replace('\nBinary\n', `\n${cuts.join('')}Binary\n`);
      const { Status, Columns } = highs.solve(program, { mip_rel_gap: 0, random_seed: 0 });
      if (Status !== 'Optimal') break;
      found.push(Object.entries(Columns).flatMap(([name, { Primal }]) => (/^x\d+$/.test(name) && (Primal ?? 0) > 0.5 ? [name] : [])));
    }
    parentPort!.postMessage(found);
  }
});
