// The results of trials, with a line for each recipe and target over its seeds.

export interface Trial {
  name: string;
  target: number;
  seed: string;
  expectedSparsity: number;
  hardSparsity: number;
  /** How far the highest expected sparsity of any step exceeds the target. */
  overshoot: number;
  seconds: number; // of training
  selection: number; // the perplexity on the half by which recipes are chosen
  report: number; // the perplexity on the other half
  whole: number; // the perplexity on both halves
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: number[]): number => Math.max(...values) - Math.min(...values);

/** The table in Markdown. Within a target, the recipe that is best on the selection half comes first. */
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
