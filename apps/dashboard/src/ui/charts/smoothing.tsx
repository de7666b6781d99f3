/** The strongest smoothing of curves. */
export const SMOOTHEST = 0.99;

export function Smoothing({ value, changed }: { value: number; changed: (value: number) => void }) {
  return (
    <label>
      Smoothing
      <input
        type="range"
        min={0}
        max={SMOOTHEST}
        step={0.01}
        value={value}
        onInput={({ currentTarget }) => changed(Number(currentTarget.value))}
      />
      <span class="num">{value.toFixed(2)}</span>
    </label>
  );
}
