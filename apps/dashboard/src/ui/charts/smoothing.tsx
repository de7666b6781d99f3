import { count } from '../format.js';
import { SMOOTHING_STEPS } from './smoothing-steps.js';

export function Smoothing({ value, changed }: { value: number; changed: (steps: number) => void }) {
  const words = value === 0 ? 'off' : `over ${count(value)} steps`;
  return (
    <label>
      Smoothing
      <input
        type="range"
        min={0}
        max={SMOOTHING_STEPS.length - 1}
        value={SMOOTHING_STEPS.indexOf(value)}
        aria-valuetext={words}
        onInput={({ currentTarget }) => changed(SMOOTHING_STEPS[Number(currentTarget.value)]!)}
      />
      <span class="num">{words}</span>
    </label>
  );
}
