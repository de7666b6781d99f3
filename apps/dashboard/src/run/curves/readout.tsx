// Shows the place that a reader points at: its step, its teacher, its phase, and the value of every curve. The mouse works in any chart;
// keys and fingers use the slider.
import { useEffect, useState } from 'preact/hooks';
import { Swatch } from '../../ui/charts/chart.js';
import { shownAt } from '../../ui/charts/legend-values.js';
import type { Curve } from '../../ui/charts/curve.js';
import { count, decimal, NONE, percent } from '../../ui/format.js';
import type { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { phaseAt, teacherAt, type StepMark } from './marks.js';

interface Props {
  cursor: SharedCursor;
  steps: readonly number[];
  /** The index of the run's own last point. Behind it only an abandoned branch has values. */
  lastPoint: number;
  /** Describes a point's place on an axis other than steps: "1.2 M tokens". */
  placeWords: (point: number) => string;
  charts: readonly { title: string; isShare?: boolean; curves: Curve[] }[];
  teachers: Parameters<typeof teacherAt>[0];
  phases: readonly { kind: string; firstStep: number }[];
  marks: readonly StepMark[];
}

const KEY = 'espalier.unfolded.readout';

export function Readout({ cursor, steps, lastPoint, placeWords, charts, teachers, phases, marks }: Props) {
  const [pointed, setPointed] = useState(cursor.index);
  const [isWhole, setWhole] = useState(() => localStorage.getItem(KEY) === '1');
  useEffect(() => cursor.listen(setPointed), [cursor]);
  const unfold = (is: boolean): void => {
    localStorage.setItem(KEY, is ? '1' : '0');
    setWhole(is);
  };
  const last = steps.length - 1;
  const at = Math.min(pointed ?? lastPoint, last);
  const step = steps[at]!;
  const expected = charts.find(({ title }) => title === 'Sparsity')?.curves.find(({ label }) => label === 'expected');
  const sparsity = expected?.values[at] ?? null;
  const before = steps[at - 1] ?? -1;
  const happened = marks.filter((mark) => mark.step > before && mark.step <= step);
  return (
    <section class="card readout" aria-label="Values at one step">
      <label class="slide">
        <span>Step</span>
        <input
          type="range"
          min={0}
          max={last}
          value={at}
          aria-valuetext={`step ${step}`}
          onInput={({ currentTarget }) => cursor.set(Number(currentTarget.value))}
        />
        <b class="num">{count(step)}</b>
      </label>
      <p class="place num">
        {[
          placeWords(at),
          teacherAt(teachers, step, sparsity),
          phases.length > 1 ? phaseAt(phases, step) : '',
          pointed === null ? 'last point' : '',
        ]
          .filter(Boolean)
          .join(' · ')}
        <span class="soft happened">{happened.map(({ step: place, words }) => `step ${count(place)}: ${words}`).join('; ')}</span>
      </p>
      <button class="plain" aria-expanded={isWhole} onClick={() => unfold(!isWhole)}>
        {isWhole ? 'Fewer values' : 'All values'}
      </button>
      {isWhole && (
        <p class="values num">
          {charts.flatMap(({ title, isShare, curves }) => {
            const own = curves.filter(({ isPale }) => isPale !== true);
            return own.map((curve) => {
              const { label, tone, dash } = curve;
              const shown = shownAt(curve, at);
              const words = shown === null ? NONE : (isShare === true ? percent : decimal)(shown.value);
              return (
                <span key={`${title} ${label}`} title={title}>
                  <Swatch tone={tone} dash={dash} />
                  {own.length > 1 ? label : title.split(',')[0]}{' '}
                  <b>
                    {words}
                    {shown !== null && shown.at !== at && ` at step ${count(steps[shown.at]!)}`}
                  </b>
                </span>
              );
            });
          })}
        </p>
      )}
    </section>
  );
}
