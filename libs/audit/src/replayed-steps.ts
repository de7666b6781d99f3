// How many steps of a run were computed twice, by which engines, and with which outcome. The aggregate and the audit fold the same events.
import type { EventData } from './event-schemas.js';

type Range = readonly [firstStep: number, endStep: number];
/** The steps that one engine computed again with one outcome. The ranges are in order and do not touch. */
export interface ReplayedSteps {
  engineName: string;
  isOtherEngine: boolean;
  agrees: boolean;
  ranges: readonly Range[];
}

/** The numbers of different steps, and the engines that computed them again. */
export interface ReplaySummary {
  agreeing: number;
  /** How many of the agreeing steps were computed by another engine than the one that had trained them. */
  byOtherEngine: number;
  differing: number;
  engines: string[];
}

export function afterReplay(known: readonly ReplayedSteps[], data: EventData<'StepsReplayed'>): ReplayedSteps[] {
  const { engineName, isOtherEngine, stretches } = data;
  let result = [...known];
  for (const { firstStep, endStep, agrees } of stretches) {
    const isSame = (one: ReplayedSteps): boolean =>
      one.engineName === engineName && one.isOtherEngine === isOtherEngine && one.agrees === agrees;
    const before = result.find(isSame)?.ranges ?? [];
    result = [
      ...result.filter((one) => !isSame(one)),
      { engineName, isOtherEngine, agrees, ranges: united([...before, [firstStep, endStep]]) },
    ];
  }
  return result;
}

/** After a rewind only the steps before it belong to the run. */
export function replaysBefore(known: readonly ReplayedSteps[], toStep: number): ReplayedSteps[] {
  return known.flatMap((one) => {
    const ranges = one.ranges.flatMap(([first, end]): Range[] => (first < toStep ? [[first, Math.min(end, toStep)]] : []));
    return ranges.length === 0 ? [] : [{ ...one, ranges }];
  });
}

export function replaySummary(known: readonly ReplayedSteps[]): ReplaySummary {
  const stepsOf = (those: (one: ReplayedSteps) => boolean): number =>
    united(known.filter(those).flatMap(({ ranges }) => ranges)).reduce((sum, [first, end]) => sum + end - first, 0);
  return {
    agreeing: stepsOf(({ agrees }) => agrees),
    byOtherEngine: stepsOf(({ agrees, isOtherEngine }) => agrees && isOtherEngine),
    differing: stepsOf(({ agrees }) => !agrees),
    engines: [...new Set(known.map(({ engineName }) => engineName))].sort(),
  };
}

function united(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const [first, end] of ranges.toSorted(([left], [right]) => left - right)) {
    const last = result.at(-1);
    if (last !== undefined && first <= last[1]) result[result.length - 1] = [last[0], Math.max(last[1], end)];
    else result.push([first, end]);
  }
  return result;
}
