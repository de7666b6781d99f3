// Shows the gates of one layer over time, and when each of them closed.
import { useMemo, useState } from 'preact/hooks';
import type { MaskSeries } from '../../generated/espalier/v1/history_service_pb.js';
import { count, ends } from '../../ui/format.js';
import { Scroll } from '../../ui/scroll.js';
import { ticksWithin } from '../../ui/charts/ticks.js';
import { gateColumns, statesAround } from './gate-columns.js';
import { gateRows, gatesOf, historyWords } from './gate-history.js';
import { Cells, gateWord, LAYER_NAMES } from './mask-map.js';

const MOST_ROWS = 300;

export function LayerGates({ series, steps, state }: { series: MaskSeries; steps: number[]; state: number }) {
  const { kind, layer, groups, groupOpen, size, changes } = series;
  const [told, setTold] = useState('');
  const title = `${LAYER_NAMES[kind]?.(layer) ?? ''} over time`;
  const { shares, columns } = useMemo(() => gateColumns(groupOpen, groups, steps), [groupOpen, groups, steps.join()]);
  const [first, last] = ends(steps);
  const now = steps[state] ?? last;
  const rows = useMemo(() => {
    const closedAtFirst = new Set<number>();
    for (let group = 0; group < groups; group += 1) {
      if ((groupOpen[group] ?? 0) > 0) continue;
      const [from, to] = gatesOf(group, groups, size);
      for (let gate = from; gate < to; gate += 1) closedAtFirst.add(gate);
    }
    return gateRows({ size, changes, closedAtFirst }, steps, now);
  }, [changes, groups, groupOpen, size, steps.join(), state]);
  const missing = rows.length > MOST_ROWS ? ` ${count(rows.length - MOST_ROWS)} more rows are not shown.` : '';
  const point = (x: number, y: number): void => {
    const { before, by } = statesAround(x, steps);
    const group = Math.min(Math.max(Math.floor(y * groups), 0), groups - 1);
    const [from, to] = gatesOf(group, groups, size);
    const openAt = (at: number): string => {
      const share = (groupOpen[at * groups + group] ?? 0) / 255;
      return share === 0 ? 'closed' : share === 1 ? 'open' : 'partly open';
    };
    const what = to - from === 1 ? `${gateWord(kind)} ${from}` : `${gateWord(kind)}s ${from} to ${to - 1}`;
    const stepAt = (at: number): string => count(steps[at] ?? last);
    const [earlier, later] = [openAt(before), openAt(by)];
    const where = before === by ? `at step ${stepAt(by)}` : `between the states of steps ${stepAt(before)} and ${stepAt(by)}`;
    setTold(`${what} ${where}: ${earlier === later ? later : `${earlier}, then ${later}`}`);
  };
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="soft">
          {gateWord(kind)} 0 is at the top, {gateWord(kind)} {size - 1} at the bottom; half dark: it changed between two recorded states, at
          a step that is not known
        </span>
      </header>
      <div class="in">
        <Cells class="over-time" shares={shares} width={columns} height={groups} label={title} point={point} leave={() => setTold('')} />
        <p class="ticks num">
          {ticksWithin(first, last, false).map((step) => (
            <span key={step} style={{ left: `${last === first ? 0 : (100 * (step - first)) / (last - first)}%` }}>
              {count(step)}
            </span>
          ))}
        </p>
        <p class="soft num">
          step; {count(steps.length)} recorded states from {count(first)} to {count(last)}
        </p>
      </div>
      <p class="told num">{told === '' ? `Point at the map: the ${gateWord(kind)} and the step.` : told}</p>
      <Scroll label={`${title}, as a table`} class="changes">
        <table class="plain num">
          <thead>
            <tr>
              <th>{gateWord(kind) === 'head' ? 'Head' : 'Unit'}</th>
              <th>At step {count(now)}</th>
              <th>Closed and opened</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MOST_ROWS).map(({ gate, isOpen, history }) => (
              <tr key={gate}>
                <td>{gate}</td>
                <td>{isOpen ? 'open' : 'closed'}</td>
                <td>{historyWords(history) || 'closed from the beginning'}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="soft">
          {rows.length === 0 ? `No ${gateWord(kind)} has closed yet.` : `${count(size - rows.length)} never closed.${missing}`}
        </p>
      </Scroll>
    </section>
  );
}
