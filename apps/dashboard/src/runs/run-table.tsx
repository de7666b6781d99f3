// The table of runs. The page holds only the visible rows, however many runs there are.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { setQuery } from '../ui/router.js';
import { nameOf, type Column } from './columns.js';
import { useLosses } from './loss-sparklines.js';

const ROW = 44;
const SPARE_ROWS = 8;

interface TableProps {
  runs: Run[];
  /** Not known yet while the rows are those of the filter before. */
  total: number | undefined;
  need: (rows: number) => void;
  columns: Column[];
  orderBy: string;
  picked: string[];
  pick: (runId: string, is: boolean) => void;
  pickAll: (runIds: string[]) => void;
}

export function RunTable({ runs, total: known, need, columns, orderBy, picked, pick, pickAll }: TableProps) {
  const table = useRef<HTMLDivElement>(null);
  const total = known ?? runs.length;
  const [window, setWindow] = useState({ first: 0, last: 40 });
  const look = (): void => {
    const { scrollTop, clientHeight } = table.current!;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE_ROWS);
    const last = Math.ceil((scrollTop + clientHeight) / ROW) + SPARE_ROWS;
    setWindow((before) => (before.first === first && before.last === last ? before : { first, last }));
    need(last);
  };
  useEffect(() => {
    look();
    const resized = new ResizeObserver(look);
    resized.observe(table.current!);
    return () => resized.disconnect();
  }, [need]);
  useEffect(() => table.current?.scrollTo(0, 0), [orderBy]);
  const shown = runs.slice(window.first, window.last);
  const losses = useLosses(columns.some(({ id }) => id === 'curve') ? shown : []);
  const template = `24px ${columns.map(({ width }) => width.replace(/\d+px/g, 'calc($& * var(--scale))')).join(' ')}`;
  const [, ...others] = columns; // the name, which is the first, has a width of its own
  const width = others.reduce((sum, one) => sum + Number(/(\d+)px/.exec(one.width)?.[1] ?? 0), 24);
  return (
    <div
      ref={table}
      onScroll={look}
      tabIndex={0}
      class={`card grid-table ${known === undefined ? 'old' : ''}`}
      aria-busy={known === undefined}
      style={{ '--table-width': `calc(var(--name-width) + ${width}px * var(--scale) + ${columns.length + 2} * var(--gap))` }}
      role="table"
      aria-label="Runs"
      aria-rowcount={total + 1}
    >
      <div class="row head" role="row" style={{ gridTemplateColumns: template }}>
        <span role="columnheader">
          <input
            type="checkbox"
            aria-label={`Choose the ${runs.length} runs that are loaded`}
            checked={runs.length > 0 && picked.length >= runs.length}
            onChange={({ currentTarget }) => pickAll(currentTarget.checked ? runs.map(({ runId }) => runId) : [])}
          />
        </span>
        {columns.map((column) => (
          <Head key={column.id} column={column} orderBy={orderBy} />
        ))}
      </div>
      <div class="body" role="rowgroup">
        <div style={{ height: `${total * ROW}px` }} />
        {Array.from({ length: Math.max(0, Math.min(window.last, total) - Math.max(window.first, runs.length)) }, (_, index) => (
          <div
            key={index}
            class="row pending"
            aria-hidden="true"
            style={{ top: `${(Math.max(window.first, runs.length) + index) * ROW}px` }}
          >
            <span />
          </div>
        ))}
        {shown.map((run, index) => (
          <div
            class="row"
            role="row"
            key={run.runId}
            aria-rowindex={window.first + index + 2}
            style={{ top: `${(window.first + index) * ROW}px`, gridTemplateColumns: template }}
          >
            <span role="cell">
              <input
                type="checkbox"
                aria-label={`Choose ${nameOf(run)}`}
                checked={picked.includes(run.runId)}
                onChange={({ currentTarget }) => pick(run.runId, currentTarget.checked)}
              />
            </span>
            {columns.map(({ id, right, cell }) => (
              <span role="cell" key={id} class={`num ${id === 'name' ? 'name' : ''} ${right === true ? 'right' : ''}`}>
                {cell(run, losses.get(run.runId))}
              </span>
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

function Head({ column: { title, right, order }, orderBy }: { column: Column; orderBy: string }) {
  const [by, direction = 'asc'] = orderBy.split(' ');
  const isOrder = order !== undefined && by === order.by;
  const turned = isOrder ? direction !== 'desc' : order?.descends;
  return (
    <span
      role="columnheader"
      class={right === true ? 'right' : ''}
      {...(isOrder ? { 'aria-sort': direction === 'desc' ? ('descending' as const) : ('ascending' as const) } : {})}
    >
      {order === undefined ? (
        title
      ) : (
        <button onClick={() => setQuery({ order: `${order.by}${turned === true ? ' desc' : ''}` })}>
          {title} {isOrder ? (direction === 'desc' ? '↓' : '↑') : ''}
        </button>
      )}
    </span>
  );
}
