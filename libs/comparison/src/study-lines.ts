// Turns the groups of a study into lines of a plot of quality against sparsity.

/** These types have the fields of StudyFigure, StudyMeasure and StudyGroup of espalier.v1. */
interface Figure {
  mean: number;
  spread?: number | undefined;
  lowest: number;
  highest: number;
  n: number;
}
interface Measure {
  subject: string;
  task: string;
  metric: string;
  convention: string;
  dataDigest: string;
  figure?: Figure | undefined;
}
interface Group {
  variant: string;
  settings: Readonly<Record<string, string>>;
  modelPath: string;
  sparsity?: Figure | undefined;
  measures: readonly Measure[];
}

export interface StudyLine {
  name: string;
  /** The points, ordered by sparsity. */
  points: { sparsity: number; figure: Figure }[];
}

/** Returns a name like "perplexity" or "boolq acc". */
export const measureName = ({ task, metric }: Pick<Measure, 'task' | 'metric'>): string =>
  task === 'text' || task === '' ? metric : `${task} ${metric}`;

export const measureNames = (groups: readonly Group[]): string[] => [
  ...new Set(groups.flatMap(({ measures }) => measures.filter(({ subject }) => subject === 'masked').map(measureName))),
];

/** Returns the group's measure of last states with this name; without a name, its first measure. */
export function measureOf({ measures }: Group, name = ''): Measure | undefined {
  const own = measures.filter(({ subject, figure }) => subject === 'masked' && figure !== undefined);
  return name === '' ? own[0] : own.find((one) => measureName(one) === name);
}

/** @param fieldWords returns the name that people read for a setting's field */
export function linesOf(groups: readonly Group[], measure?: string, fieldWords = (field: string): string => field): StudyLine[] {
  const lines = new Map<string, StudyLine>();
  for (const group of groups) {
    const figure = measureOf(group, measure)?.figure;
    if (figure === undefined || group.sparsity === undefined) continue;
    const name = lineName(group, fieldWords);
    const line = lines.get(name) ?? { name, points: [] };
    lines.set(name, line);
    line.points.push({ sparsity: group.sparsity.mean, figure });
  }
  for (const { points } of lines.values()) points.sort((left, right) => left.sparsity - right.sparsity);
  return [...lines.values()];
}

/** The name of a group's line: its variant and all its differing settings except the sparsity. */
const lineName = (group: Group, fieldWords: (field: string) => string): string => named(group, fieldWords, ['target_sparsity']);

/** The name of a group: its variant and all its differing settings. */
export const groupName = (group: Pick<Group, 'variant' | 'settings' | 'modelPath'>): string => named(group, (field) => field, []);

function named(
  { variant, settings, modelPath }: Pick<Group, 'variant' | 'settings' | 'modelPath'>,
  fieldWords: (field: string) => string,
  leftOut: readonly string[],
): string {
  const others = Object.entries(settings)
    .filter(([field]) => !leftOut.includes(field))
    .map(([field, value]) => `${fieldWords(field)} ${value}`);
  return [variant, ...(modelPath === '' ? [] : [modelPath]), ...others].join(', ');
}

/** Returns the value of the same measure for the models before pruning; undefined where it is unknown or differs among the groups. */
export function intactValue(groups: readonly Group[], measure?: string): number | undefined {
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
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values.length > 0 && high - low <= 1e-9 * Math.abs(high) ? low : undefined;
}
