// The groups of a study as points of its plot.
import type { GetStudyResponse, StudyGroup, StudyMeasure } from '../generated/espalier/v1/study_service_pb.js';
import type { ScatterLine } from '../ui/scatter.js';
import { count, decimal, percent } from '../ui/format.js';

export const measureName = ({ task, metric }: Pick<StudyMeasure, 'task' | 'metric'>): string =>
  task === 'text' || task === '' ? metric : `${task} ${metric}`;

/** The measure of last states by this name; the first one where there is no name. */
export function measureOf({ measures }: StudyGroup, name: string): StudyMeasure | undefined {
  const own = measures.filter(({ subject, figure }) => subject === 'masked' && figure !== undefined);
  return name === '' ? own[0] : own.find((one) => measureName(one) === name);
}

export const measureNames = ({ groups }: GetStudyResponse): string[] => [
  ...new Set(groups.flatMap(({ measures }) => measures.filter(({ subject }) => subject === 'masked').map(measureName))),
];

/** The groups of one line differ by their sparsity. */
function lineName({ variant, settings, modelPath }: StudyGroup): string {
  const others = Object.entries(settings)
    .filter(([field]) => field !== 'target_sparsity')
    .map(([field, value]) => `${field.replaceAll('_', ' ')} ${value}`);
  return [variant, ...(modelPath === '' ? [] : [modelPath]), ...others].join(', ');
}

export function linesOf({ groups }: GetStudyResponse, measure: string): ScatterLine[] {
  const lines = new Map<string, ScatterLine>();
  for (const group of groups) {
    const figure = measureOf(group, measure)?.figure;
    if (figure === undefined || group.hardSparsity === undefined) continue;
    const name = lineName(group);
    const line = lines.get(name) ?? { name, points: [] };
    lines.set(name, line);
    const spread = figure.spread === undefined ? '' : ` ± ${decimal(figure.spread)} over ${count(figure.n)} runs`;
    line.points.push({
      x: group.hardSparsity.mean * 100,
      y: figure.mean,
      ...(figure.spread === undefined ? {} : { spread: figure.spread }),
      title: `${name} at ${percent(group.hardSparsity.mean)}: ${decimal(figure.mean)}${spread}`,
    });
  }
  for (const { points } of lines.values()) points.sort((left, right) => left.x - right.x);
  return [...lines.values()];
}

/** The same measure of the model before pruning; undefined where it is not the same for all. */
export function intactValue({ groups }: GetStudyResponse, measure: string): number | undefined {
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
