// The groups of a study as points of a plot and rows of a table.
import type { v1 } from '#protocol';

/** "perplexity", "boolq acc" */
export const measureName = ({ task, metric }: Pick<v1.StudyMeasure, 'task' | 'metric'>): string =>
  task === 'text' || task === '' ? metric : `${task} ${metric}`;

export interface Point {
  sparsity: number;
  mean: number;
  spread: number;
  n: number;
}
export interface Line {
  name: string;
  points: Point[];
}

/** The measure of last states by this name; the first one where there is no name. */
export function measureOf(group: v1.StudyGroup, name: string | undefined): v1.StudyMeasure | undefined {
  const own = group.measures.filter(({ subject, figure }) => subject === 'masked' && figure !== undefined);
  return name === undefined ? own[0] : own.find((one) => measureName(one) === name);
}

/** The name of a group's line: its variant, and what else differs but the sparsity. */
function lineName({ variant, settings, modelPath }: v1.StudyGroup): string {
  const others = Object.entries(settings)
    .filter(([field]) => field !== 'target_sparsity')
    .map(([field, value]) => `${field} ${value}`);
  return [variant, ...(modelPath === '' ? [] : [modelPath]), ...others].join(', ');
}

export function linesOf(groups: readonly v1.StudyGroup[], measure: string | undefined): Line[] {
  const lines = new Map<string, Line>();
  for (const group of groups) {
    const figure = measureOf(group, measure)?.figure;
    if (figure === undefined || group.hardSparsity === undefined) continue;
    const name = lineName(group);
    const line = lines.get(name) ?? { name, points: [] };
    lines.set(name, line);
    line.points.push({ sparsity: group.hardSparsity.mean, mean: figure.mean, spread: figure.spread ?? 0, n: figure.n });
  }
  for (const { points } of lines.values()) points.sort((left, right) => left.sparsity - right.sparsity);
  return [...lines.values()];
}

/** The same measure of the models before pruning; null where it is not known, or not the same for all. */
export function intactValue(groups: readonly v1.StudyGroup[], measure: string | undefined): number | null {
  const values = groups.flatMap((group) => {
    const own = measureOf(group, measure);
    const intact = group.measures.find(
      (one) =>
        own !== undefined &&
        one.subject === 'intact' &&
        measureName(one) === measureName(own) &&
        one.convention === own.convention &&
        one.dataDigest === own.dataDigest,
    );
    return intact?.figure === undefined ? [] : [intact.figure.lowest, intact.figure.highest];
  });
  return values.length > 0 && Math.max(...values) - Math.min(...values) < 1e-9 * Math.max(1, ...values.map(Math.abs)) ? values[0]! : null;
}

export const measureNames = (groups: readonly v1.StudyGroup[]): string[] => [
  ...new Set(groups.flatMap(({ measures }) => measures.filter(({ subject }) => subject === 'masked').map(measureName))),
];
