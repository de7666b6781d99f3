// Shows the charts that a reader added, each on an axis of its own, and the form that adds one.
import { useMemo, useState } from 'preact/hooks';
import { Chart } from '../../ui/charts/chart.js';
import { logsOf, logsText } from '../../ui/charts/charts.js';
import type { Curve } from '../../ui/charts/curve.js';
import { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { Fold } from '../../ui/fold.js';
import { counted } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { setQuery } from '../../ui/router.js';
import { MOST_OWN_CHARTS, ownChartsOf, ownChartsText, titleOf, type OwnChart } from './own-charts.js';
import { QUANTITIES, QUANTITY_TITLES } from './quantities.js';
import { isRising, lookOfAxis, X_AXES } from './x-axis.js';

interface Props {
  query: URLSearchParams;
  /** Makes the lines of a chart. It is another function whenever the data is. */
  linesOf: (chart: OwnChart) => { x: number[]; xName: string; curves: Curve[] };
  fileName: string;
  source: string;
}

export function OwnCharts({ query, linesOf, fileName, source }: Props) {
  const text = query.get('own') ?? '';
  const charts = ownChartsOf(text);
  const [next, setNext] = useState<OwnChart>({ quantity: 'loss', axis: 'hard_sparsity' });
  const show = (shown: OwnChart[]): void => setQuery({ own: ownChartsText(shown) });
  const drawn = useMemo(() => charts.map((chart) => ({ chart, ...linesOf(chart) })), [text, linesOf]);
  const isThere = charts.some(({ quantity, axis }) => quantity === next.quantity && axis === next.axis);
  return (
    <section class="own-charts below" aria-label="Your charts">
      <Fold id="own-charts" title="Your charts" words={charts.length === 0 ? 'any figure over any other' : counted(charts.length, 'chart')}>
        <div class="bar" role="group" aria-label="A chart to add">
          <LabelledSelect
            label="Draw"
            value={next.quantity}
            options={QUANTITY_TITLES}
            changed={(quantity) => setNext({ ...next, quantity })}
          />
          <LabelledSelect label="over" value={next.axis} options={X_AXES} changed={(axis) => setNext({ ...next, axis })} />
          <button disabled={isThere || charts.length >= MOST_OWN_CHARTS} onClick={() => show([...charts, next])}>
            Add this chart
          </button>
          {charts.map((chart) => (
            <button key={titleOf(chart)} class="plain" onClick={() => show(charts.filter((one) => one !== chart))}>
              Without {titleOf(chart)}
            </button>
          ))}
        </div>
      </Fold>
      <div class="charts">
        {drawn.map(({ chart, ...lines }) => (
          <Own key={titleOf(chart)} {...{ chart, lines, query, fileName, source }} />
        ))}
      </div>
    </section>
  );
}

interface OwnProps extends Pick<Props, 'query' | 'fileName' | 'source'> {
  chart: OwnChart;
  lines: ReturnType<Props['linesOf']>;
}

function Own({ chart: { quantity, axis }, lines, query, fileName, source }: OwnProps) {
  const [cursor] = useState(() => new SharedCursor());
  const { isNoisy: _, ...picture } = QUANTITIES[quantity]!;
  const title = titleOf({ quantity, axis });
  const logs = logsOf(query.get('log'));
  const others = logs.filter((one) => one !== title);
  if (!lines.curves.some(({ values }) => values.some((value) => value !== null)))
    return (
      <section class="card empty" aria-label={title}>
        <h2>{title}</h2>
        <p>No step has both values.</p>
      </section>
    );
  return (
    <Chart
      {...picture}
      title={title}
      {...lines}
      xLook={lookOfAxis(axis)}
      isPath={!isRising(axis)}
      log={logs.includes(title)}
      setLog={(log) => setQuery({ log: logsText(log ? [...others, title] : others) })}
      cursor={cursor}
      fileName={`${fileName} ${title}`}
      source={source}
    />
  );
}
