// Prepares the lines of a study for its plot.
import { linesOf } from '../../../../libs/comparison/src/index.js';
import type { StudyGroup } from '../generated/espalier/v1/study_service_pb.js';
import type { ScatterLine } from '../ui/charts/scatter.js';
import { count, decimal, percent } from '../ui/format.js';

export function scatterLines(groups: readonly StudyGroup[], measure: string): ScatterLine[] {
  return linesOf(groups, measure, (field) => field.replaceAll('_', ' ')).map(({ name, points }) => ({
    name,
    points: points.map(({ sparsity, figure }) => {
      const spread = figure.spread === undefined ? '' : ` ± ${decimal(figure.spread)} over ${count(figure.n)} runs`;
      return {
        x: sparsity * 100,
        y: figure.mean,
        ...(figure.spread === undefined ? {} : { spread: figure.spread }),
        title: `${name} at ${percent(sparsity)}: ${decimal(figure.mean)}${spread}`,
      };
    }),
  }));
}
