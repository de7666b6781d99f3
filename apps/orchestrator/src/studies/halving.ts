// Successive halving: all contenders run a little, the best share of them runs for longer, and so on. Each rung has whole runs with their
// own number of steps, since a model that is half pruned says little about how it will end. Only contenders with equal model, text, target
// and windows race one another, because other perplexities can't be compared. All functions are pure.
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { settingsOfBudget } from '../pruning-run/method/budget.js';
import { resolveSettings } from '../pruning-run/method/run-settings.js';
import { planRun } from './study-plan.js';
import type { Halving, PlannedRun, RungResult } from './study.events.js';

/** The settings that can grow from rung to rung. Each is a number of steps. */
export const BUDGETS = { total_steps: 'totalSteps', recover_steps: 'recoverSteps' } as const;

/** The name of the setting as messages use it. */
export const budgetField = ({ setting }: Halving): string => Object.entries(BUDGETS).find(([, name]) => name === setting)![0];

const ID_LENGTH = 16;
const ROUNDING = 1e-9;

/** Runs that differ by their seed only. */
/** One run or more. */
type Runs = [PlannedRun, ...PlannedRun[]];

interface Contender {
  runs: Runs;
}
export interface Standing extends Contender {
  /** The perplexities of the contender's completed runs; empty where none completed. */
  perplexities: number[];
  /** Whether runs completed, and none of them ended at its target. */
  missedTarget: boolean;
  goesOn: boolean;
}
/** The runs of one rung that race one another. */
export interface Heat {
  race: string;
  rung: number;
  runs: Runs;
}

export const withBudget = <R extends Pick<PlannedRun, 'settings'>>(run: R, { setting }: Halving, budget: number): R => ({
  ...run,
  settings: { ...run.settings, [setting]: budget },
});

function raceOf({ modelPath, data, settings }: PlannedRun): string {
  const { targetSparsity, evaluationWindow, ...complete } = resolveSettings(settings);
  const compared = { modelPath, data, targetSparsity, evaluationWindow, ...settingsOfBudget(complete) };
  return sha256Hex(canonicalJson(compared)).slice(0, ID_LENGTH);
}

/** The heats, in the order of their first runs. */
export function heatsOf(runs: readonly PlannedRun[]): Heat[] {
  const heats = new Map<string, Heat>();
  for (const run of runs) {
    const { rung = 0 } = run;
    const race = raceOf(run);
    const heat = heats.get(`${race} ${rung}`);
    if (heat === undefined) heats.set(`${race} ${rung}`, { race, rung, runs: [run] });
    else heat.runs.push(run);
  }
  return [...heats.values()];
}

function contendersOf(runs: readonly PlannedRun[], halving: Halving): Contender[] {
  const contenders = new Map<string, Contender>();
  for (const run of runs) {
    const alike = { ...withBudget(run, halving, halving.rungs[0]!).settings, seed: '0' };
    const id = canonicalJson(resolveSettings(alike));
    const contender = contenders.get(id);
    if (contender === undefined) contenders.set(id, { runs: [run] });
    else contender.runs.push(run);
  }
  return [...contenders.values()];
}

const isMeasured = (result: RungResult): result is RungResult & { perplexity: number } => result.perplexity !== null;

/** Ranks the contenders by their mean perplexity over seeds, the best first. Contenders that missed their target come after all others. */
export function standingsOf(runs: readonly PlannedRun[], results: readonly RungResult[], halving: Halving): Standing[] {
  const byKey = new Map(results.map((result) => [result.key, result]));
  const standings = contendersOf(runs, halving).map((contender) => {
    const completed = contender.runs.flatMap(({ key }) => byKey.get(key) ?? []).filter(isMeasured);
    return {
      ...contender,
      perplexities: completed.map(({ perplexity }) => perplexity),
      missedTarget: completed.length > 0 && completed.every(({ missedTarget }) => missedTarget),
    };
  });
  const order = standings.toSorted((left, right) => rank(left) - rank(right) || meanOf(left) - meanOf(right) || 0);
  const kept = Math.max(1, Math.floor(standings.length * halving.keep + ROUNDING));
  return order.map((one, index) => ({ ...one, goesOn: index < kept && one.perplexities.length > 0 }));
}

const rank = ({ perplexities, missedTarget }: Omit<Standing, 'goesOn'>): number => (perplexities.length === 0 ? 2 : missedTarget ? 1 : 0);
const meanOf = ({ perplexities }: Omit<Standing, 'goesOn'>): number =>
  perplexities.length === 0 ? 0 : perplexities.reduce((sum, value) => sum + value, 0) / perplexities.length;

/** The runs of the next rung: the contenders that go on, with more steps. */
export function nextRuns({ rung, runs }: Heat, results: readonly RungResult[], halving: Halving): PlannedRun[] {
  const going = new Set(standingsOf(runs, results, halving).flatMap((one) => (one.goesOn ? one.runs.map(({ key }) => key) : [])));
  return runs
    .filter(({ key }) => going.has(key))
    .map(({ variant, modelPath, data, settings }) => {
      const longer = { ...settings, [halving.setting]: halving.rungs[rung + 1]! };
      return { ...planRun({ variant, modelPath, data, settings: longer }), rung: rung + 1 };
    });
}
