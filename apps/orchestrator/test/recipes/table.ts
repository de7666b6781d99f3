// The results of trials: a line for each recipe and target, over its seeds.

export interface Trial {
  name: string;
  target: number;
  seed: string;
  expectedSparsity: number;
  hardSparsity: number;
  /** By the highest expected sparsity of any step. */
  overshoot: number;
  seconds: number; // of training
  selection: number; // perplexity on the half that recipes are chosen by
  report: number; // on the other half
  whole: number; // on both
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: number[]): number => Math.max(...values) - Math.min(...values);

/** As Markdown; best on the selection half first within a target. */
export function tableOf(trials: readonly Trial[]): string {
  const groups = new Map<string, Trial[]>();
  for (const trial of trials) {
    const key = JSON.stringify([trial.target, trial.name]);
    groups.set(key, [...(groups.get(key) ?? []), trial]);
  }
  const rows = [...groups.values()]
    .map((group) => {
      const of = (field: 'selection' | 'report' | 'whole' | 'hardSparsity' | 'seconds'): number[] => group.map((trial) => trial[field]);
      return { target: group[0]!.target, name: group[0]!.name, seeds: group.length, of };
    })
    .sort((left, right) => left.target - right.target || mean(left.of('selection')) - mean(right.of('selection')))
    .map(({ target, name, seeds, of }) => {
      const figures = (['selection', 'report', 'whole'] as const).map(
        (field) => `${mean(of(field)).toFixed(2)} ±${(spread(of(field)) / 2).toFixed(2)}`,
      );
      return [percent(target), name, String(seeds), ...figures, percent(mean(of('hardSparsity')), 1), mean(of('seconds')).toFixed(0)];
    });
  const head = ['target', 'recipe', 'seeds', 'selection half', 'reported half', 'both', 'hard', 'seconds'];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const percent = (share: number, decimals = 0): string => `${(share * 100).toFixed(decimals)}%`;
