import { LOADING, NONE } from '../format.js';

/** A small curve without axes, for a cell of a table. @param values undefined until they are loaded */
export function Sparkline({ values, label }: { values: number[] | undefined; label: string }) {
  if (values === undefined) return <span class="soft">{LOADING}</span>;
  const known = values.filter(Number.isFinite);
  if (known.length < 2) return <span class="soft">{NONE}</span>;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const y = (value: number): number => (high === low ? 14 : 26 - ((value - low) / (high - low)) * 24);
  const points = values.flatMap((value, index) =>
    Number.isFinite(value) ? [`${((index / (values.length - 1)) * 100).toFixed(2)} ${y(value).toFixed(2)}`] : [],
  );
  return (
    <svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={`M${points.join('L')}`} />
    </svg>
  );
}
