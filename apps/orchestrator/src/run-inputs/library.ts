// Chooses what each layer keeps by a library: a completed run of recipe scan (docs/scan.md).
import { Inject, Injectable } from '@nestjs/common';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';
import { type EspalierError, invalidField } from '#protocol';
import { BUDGET_NAMES } from '#comparison';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { amountAsked, choosesWidths, COUNT_SETTINGS, sizesOf, type Sizes } from '../pruning-run/method/budget.js';
import { blockGatesOf } from '../pruning-run/method/gates.js';
import { keptByLayer } from '../pruning-run/method/layer-widths.js';
import { costFrom, intactCost, openOf, parameterCost, prunableCost, type ModelShape } from '../pruning-run/method/model-cost.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { shapeOf } from '../pruning-run/method/shape-target.js';
import { scoreOfWidths, widthChoice, widthProgram, type Bound, type WidthChoice } from '../pruning-run/method/width-choice.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import type { Budget, RunSettings } from '../pruning-run/record/pruning-run.events.js';
import { RunViews } from '../views/run-views.js';
import type { ProgramToSolve, Solution } from './program-worker.js';

const FIELD = 'settings.library';
/** The share of the attentions and MLPs in which each further choice for a share differs from those before it. */
const APART = 0.1;
/** The most programs whose solutions are remembered. */
const MOST_SOLVED = 256;
const unfit = (description: string, field = FIELD): EspalierError => invalidField('LIBRARY_UNFIT', field, description);

export interface FrontierQuery {
  /** Shares of the intact model's parameters. */
  shares: readonly number[];
  /** The number of choices for each share, the best first. */
  choices: number;
  shapeTarget: RunSettings['shapeTarget'];
}

/** A choice for a share of the model's parameters. */
export interface FrontierPoint extends WidthChoice, Sizes {
  /** The share that was asked for. */
  share: number;
}

@Injectable()
export class Libraries {
  private readonly solved = new Map<string, Solution[]>();

  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
  ) {}

  /**
   * Returns the request with the widths of layers that its library has for its targets, in shapes that suit `shape_target`. A request that
   * names widths keeps them.
   * @param budgetsOf gives the budgets that the request asks for; a target_sparsity that it names is a bound beside them
   */
  async withWidths(asked: RequestedSettings, shape: ModelShape, budgetsOf: () => Promise<Budget[]>): Promise<RequestedSettings> {
    const settings = resolveSettings(asked);
    if (!choosesWidths(settings)) return asked;
    const run = await this.scanOf(settings.library, shape);
    const budgets = await budgetsOf();
    const bounds: Bound[] = budgets.map((budget) => ({ cost: costFrom(budget.cost), most: amountAsked(budget, settings) }));
    if (budgets.length === 0 || asked.targetSparsity !== undefined) {
      const cost = prunableCost(shape, blockGatesOf(settings));
      bounds.push({ cost, most: (1 - settings.targetSparsity) * intactCost(cost, shape) });
    }
    const program = widthProgram(run.scans, shape, bounds, shapeOf(settings, shape));
    const [[chosen] = []] = await this.solutionsOf([{ text: program.text, solutions: 1, apart: 1 }]);
    if (chosen === undefined) {
      const forms = settings.shapeTarget === 'free' ? 'forms of layers' : `forms of layers for ${settings.shapeTarget}`;
      throw unfit(`run ${run.runId} has no ${forms} that keep ${bounds.length > 1 ? 'all targets together' : 'the target'}`);
    }
    // The widths stand in place of the targets and their shapes. So the run counts by its share of the prunable parameters.
    const replaced = ['targetSparsity', 'shapeTarget', ...BUDGET_NAMES, ...COUNT_SETTINGS];
    const without = Object.fromEntries(replaced.map((name) => [name, undefined]));
    return { ...asked, ...without, library: run.runId, layerWidths: widthChoice(program, chosen, shape.layers).layerWidths };
  }

  /** Returns the choices for shares of the model's parameters. A share that no choice keeps is left out. */
  async frontier(run: PruningRunState, shape: ModelShape, { shares, choices, shapeTarget }: FrontierQuery): Promise<FrontierPoint[]> {
    requireScan(run, shape, 'run_id');
    const cost = parameterCost(shape);
    const intact = intactCost(cost, shape);
    const held = shapeOf({ ...run.settings, shapeTarget }, shape);
    const programs = [...new Set(shares)].map((share) => ({
      share,
      program: widthProgram(run.scans, shape, [{ cost, most: share * intact }], held),
    }));
    const apart = Math.max(1, Math.floor(2 * shape.layers * APART));
    const solved = await this.solutionsOf(programs.map(({ program: { text } }) => ({ text, solutions: choices, apart })));
    return programs.flatMap(({ share, program }, index) =>
      solved[index]!.map((chosen) => {
        const choice = widthChoice(program, chosen, shape.layers);
        return { ...choice, share, ...sizesOf(shape, openOf(choice.kept, shape), run.settings) };
      }),
    );
  }

  /** Returns what the scan predicts for a run whose layers it chose; null where it scored no such forms. */
  predicted({ scans }: PruningRunState, shape: ModelShape, settings: Pick<RunSettings, 'layerWidths'>): number | null {
    const kept = keptByLayer(settings);
    return kept === null ? null : scoreOfWidths(scans, kept, shape);
  }

  /** Solves programs, or remembers their solutions: a page asks for its frontier again whenever a run changes. */
  private async solutionsOf(programs: readonly ProgramToSolve[]): Promise<Solution[][]> {
    const keyOf = (program: ProgramToSolve): string => sha256Hex(canonicalJson(program));
    const unsolved = programs.filter((program) => !this.solved.has(keyOf(program)));
    const solutions = await solve(unsolved);
    const found = new Map(unsolved.map((program, index) => [keyOf(program), solutions[index]!]));
    const all = programs.map((program) => (this.solved.get(keyOf(program)) ?? found.get(keyOf(program)))!);
    for (const [key, solution] of found) this.solved.set(key, solution);
    for (const key of [...this.solved.keys()].slice(0, -MOST_SOLVED)) this.solved.delete(key);
    return all;
  }

  private async scanOf(named: string, shape: ModelShape): Promise<PruningRunState> {
    const run = await this.runs.load(await this.views.runId(named, FIELD));
    requireScan(run, shape);
    return run;
  }
}

/** @param field the field of the request that names the run */
function requireScan({ runId, settings, scans, status, model }: PruningRunState, shape: ModelShape, field = FIELD): void {
  const { recipe } = settings;
  if (recipe !== 'scan') throw unfit(`run ${runId} has recipe ${recipe}: a library is a run of recipe scan`, field);
  const count = model.layers.length;
  if (scans.length < count)
    throw unfit(`run ${runId} is ${status} and has scored ${scans.length} of ${count} layers: it must be completed`, field);
  const { layers, heads, units, hiddenSize, vocabularySize } = shape;
  const [first] = model.layers;
  const same = count === layers && first?.heads === heads && first.units === units;
  if (same && model.hiddenSize === hiddenSize && model.vocabularySize === vocabularySize) return;
  throw unfit(`run ${runId} scanned a model of another shape (${model.path})`, field);
}

/** Solves the programs in a thread, one after the other. */
function solve(workerData: ProgramToSolve[]): Promise<Solution[][]> {
  return new Promise((resolve, reject) => {
    const solutions: Solution[][] = [];
    const worker = new Worker(programFile(new URL('./program-worker.js', import.meta.url)), { workerData });
    worker.on('message', (found: Solution[]) => solutions.push(found));
    worker.once('error', reject);
    worker.once('exit', () =>
      solutions.length === workerData.length ? resolve(solutions) : reject(new Error('the solver ended without a solution')),
    );
  });
}
