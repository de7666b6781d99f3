// Chooses what each layer keeps by a library: a completed run of recipe scan (docs/scan.md).
import { Inject, Injectable } from '@nestjs/common';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';
import { type EspalierError, invalidField } from '#protocol';
import { BUDGET_NAMES } from '#comparison';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { amountAsked, COUNT_SETTINGS, NO_LIBRARY } from '../pruning-run/method/budget.js';
import { blockGatesOf } from '../pruning-run/method/gates.js';
import { NO_WIDTHS, sparsityOfWidths } from '../pruning-run/method/layer-widths.js';
import {
  costAt,
  costFrom,
  intactCost,
  openOf,
  parameterCost,
  prunableCost,
  type Cost,
  type ModelShape,
} from '../pruning-run/method/model-cost.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { widthChoice, widthProgram, type WidthChoice } from '../pruning-run/method/width-choice.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import type { Budget } from '../pruning-run/record/pruning-run.events.js';
import { RunViews } from '../views/run-views.js';
import type { Solution } from './program-worker.js';

const FIELD = 'settings.library';
const unfit = (description: string, field = FIELD): EspalierError => invalidField('LIBRARY_UNFIT', field, description);

/** The choice for a share of the model's parameters. */
export interface FrontierPoint extends WidthChoice {
  parameters: number;
  /** The share of the prunable parameters that goes. */
  sparsity: number;
}

@Injectable()
export class Libraries {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
  ) {}

  /**
   * Returns the request with the widths of layers that its library has for its target. A request that names widths keeps them.
   * @param budgetOf gives the budget that the request asks for; null: its target is a share of the prunable parameters
   */
  async withWidths(asked: RequestedSettings, shape: ModelShape, budgetOf: () => Promise<Budget | null>): Promise<RequestedSettings> {
    const settings = resolveSettings(asked);
    if (settings.library === NO_LIBRARY || settings.layerWidths !== NO_WIDTHS) return asked;
    const run = await this.scanOf(settings.library, shape);
    const budget = await budgetOf();
    const prunable = prunableCost(shape, blockGatesOf(settings));
    const [cost, most] =
      budget === null
        ? [prunable, (1 - settings.targetSparsity) * intactCost(prunable, shape)]
        : [costFrom(budget.cost), amountAsked(budget, settings)];
    const [choice] = await choose(run, shape, [{ cost, most }]);
    if (choice === undefined || choice === null) throw unfit(`run ${run.runId} has no forms of layers that keep the target`);
    // The widths stand in place of the target. So the run counts by its share of the prunable parameters.
    const without = Object.fromEntries(['targetSparsity', ...BUDGET_NAMES, ...COUNT_SETTINGS].map((name) => [name, undefined]));
    return { ...asked, ...without, library: run.runId, layerWidths: choice.layerWidths };
  }

  /** Returns the choices for shares of the model's parameters. A share that no choice keeps is left out. */
  async frontier(run: PruningRunState, shape: ModelShape, shares: readonly number[]): Promise<FrontierPoint[]> {
    requireScan(run, shape, 'run_id');
    const cost = parameterCost(shape);
    const intact = intactCost(cost, shape);
    const choices = await choose(
      run,
      shape,
      shares.map((share) => ({ cost, most: share * intact })),
    );
    return choices.flatMap((choice) => {
      if (choice === null) return [];
      const open = openOf(choice.kept, shape);
      return [{ ...choice, parameters: costAt(cost, open), sparsity: sparsityOfWidths(choice.kept, shape, run.settings) }];
    });
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

interface Bound {
  cost: Cost;
  most: number;
}

/** Returns the best choice within each bound, or null where no choice keeps it. */
async function choose({ scans }: PruningRunState, shape: ModelShape, bounds: readonly Bound[]): Promise<(WidthChoice | null)[]> {
  const programs = bounds.map(({ cost, most }) => widthProgram(scans, shape, cost, most));
  const solutions = await solve(programs.map(({ text }) => text));
  return programs.map((program, index) => {
    const chosen = solutions[index];
    return chosen == null
      ? null
      : widthChoice(
          program,
          chosen.map((name) => Number(name.slice(1))),
          shape.layers,
        );
  });
}

/** Solves the programs in a thread, one after the other. */
function solve(workerData: string[]): Promise<Solution[]> {
  return new Promise((resolve, reject) => {
    const solutions: Solution[] = [];
    const worker = new Worker(programFile(new URL('./program-worker.js', import.meta.url)), { workerData });
    worker.on('message', (solution: Solution) => solutions.push(solution));
    worker.once('error', reject);
    worker.once('exit', () =>
      solutions.length === workerData.length ? resolve(solutions) : reject(new Error('the solver ended without a solution')),
    );
  });
}
