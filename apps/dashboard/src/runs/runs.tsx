// All runs: as many rows in the page as are in sight, whatever their number.
import { useEffect, useRef, useState } from 'preact/hooks';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { count, statusWord } from '../ui/format.js';
import { Pending, TroubleNote } from '../ui/parts.js';
import { go, setQuery } from '../ui/router.js';
import { Typed } from '../ui/typed.js';
import { ALL_COLUMNS, nameOf, storeColumns, storedColumns, type Column } from './columns.js';
import { conditionsIn } from './conditions.js';
import { useLosses } from './losses.js';
import { useRunPages } from './run-pages.js';

const ROW = 44;
const SPARE_ROWS = 8;
const PAUSE_MS = 250;
const NO_FILTER = { q: '', tags: '', status: '', where: '' };
const STATUSES = Object.values(RunStatus).filter((one): one is RunStatus => typeof one === 'number' && one !== RunStatus.UNSPECIFIED);

export function RunsView({ query, launch }: { query: URLSearchParams; launch: () => void }) {
  const text = query.get('q') ?? '';
  const statuses = STATUSES.filter((one) => query.get('status')?.split(',').includes(statusWord(one)));
  const tags = (query.get('tags') ?? '').split(',').filter(Boolean);
  const where = conditionsIn(query.get('where') ?? '');
  const orderBy = query.get('order') ?? 'launched_at desc';
  const pages = useRunPages({ text, statuses, tags, where, orderBy });
  const [columns, setColumns] = useState(storedColumns());
  const [picked, setPicked] = useState<string[]>([]);
  const isFiltered = text !== '' || statuses.length > 0 || tags.length > 0 || where.length > 0;
  const pick = (runId: string, is: boolean): void =>
    setPicked((before) => (is ? [...before, runId] : before.filter((one) => one !== runId)));
  return (
    <>
      <div class="bar">
        <h1>Runs</h1>
        <span class="soft num" aria-live="polite">
          {pages.total === undefined ? '' : `${count(pages.total)} ${isFiltered ? 'found' : 'in all'}`}
        </span>
        <button disabled={picked.length < 2} onClick={() => go(`/compare?runs=${picked.join(',')}`)}>
          Compare {picked.length > 0 ? picked.length : ''}
        </button>
      </div>
      <div class="bar" role="search">
        <label>
          Name contains
          <Typed type="search" maxLength={200} value={text} changed={(q) => setQuery({ q })} pauseMs={PAUSE_MS} />
        </label>
        <label>
          Tags, all of
          <Typed
            type="search"
            maxLength={200}
            value={tags.join(',')}
            changed={(value) => setQuery({ tags: value.replaceAll(' ', '') })}
            pauseMs={PAUSE_MS}
          />
        </label>
        <label>
          Where
          <Typed
            type="search"
            maxLength={400}
            placeholder="perplexity<6, recipe=lm"
            title="conditions that all hold, with commas between: a setting or a figure, one of = != < <= > >=, and a value"
            value={where.join(', ')}
            changed={(value) => setQuery({ where: value.trim() })}
            pauseMs={PAUSE_MS}
          />
        </label>
        <label>
          Status
          <select
            value={statuses[0] === undefined ? '' : statusWord(statuses[0])}
            onChange={({ currentTarget }) => setQuery({ status: currentTarget.value })}
          >
            <option value="">any</option>
            {STATUSES.map((one) => (
              <option key={one}>{statusWord(one)}</option>
            ))}
          </select>
        </label>
        <ColumnChoice
          columns={columns}
          changed={(ids) => {
            storeColumns(ids);
            setColumns(ids);
          }}
        />
      </div>
      {pages.runs.length > 0 && <TroubleNote trouble={pages.trouble} />}
      {pages.total === undefined && pages.runs.length === 0 ? (
        <Pending loaded={{ ...pages, data: undefined }} heading="The runs can&rsquo;t be listed">
          {isFiltered && <button onClick={() => setQuery(NO_FILTER)}>Show all runs</button>}
        </Pending>
      ) : pages.total === 0 ? (
        <Empty isFiltered={isFiltered} launch={launch} />
      ) : (
        <RunTable
          {...pages}
          columns={ALL_COLUMNS.filter(({ id }) => columns.includes(id))}
          orderBy={orderBy}
          picked={picked}
          pick={pick}
          pickAll={setPicked}
        />
      )}
    </>
  );
}

function Empty({ isFiltered, launch }: { isFiltered: boolean; launch: () => void }) {
  if (isFiltered)
    return (
      <div class="card empty">
        <h2>No run matches these filters</h2>
        <p>
          <button onClick={() => setQuery(NO_FILTER)}>Show all runs</button>
        </p>
      </div>
    );
  return (
    <div class="card empty">
      <h2>No runs yet</h2>
      <p>
        <button class="main" onClick={launch}>
          Launch the first one
        </button>{' '}
        or, on the command line, <code>npx espalier launch --model MODEL --data TEXT</code>
      </p>
    </div>
  );
}

function ColumnChoice({ columns, changed }: { columns: string[]; changed: (ids: string[]) => void }) {
  return (
    <details class="menu">
      <summary class="button">Columns</summary>
      <div class="card in" role="group" aria-label="Columns">
        {ALL_COLUMNS.slice(1).map(({ id, title }) => (
          <label key={id}>
            <input
              type="checkbox"
              checked={columns.includes(id)}
              onChange={({ currentTarget }) =>
                changed(ALL_COLUMNS.map((one) => one.id).filter((one) => (one === id ? currentTarget.checked : columns.includes(one))))
              }
            />
            {title}
          </label>
        ))}
      </div>
    </details>
  );
}

interface TableProps {
  runs: Run[];
  total: number | undefined;
  need: (rows: number) => void;
  columns: Column[];
  orderBy: string;
  picked: string[];
  pick: (runId: string, is: boolean) => void;
  pickAll: (runIds: string[]) => void;
}

function RunTable({ runs, total = runs.length, need, columns, orderBy, picked, pick, pickAll }: TableProps) {
  const body = useRef<HTMLDivElement>(null);
  const [window, setWindow] = useState({ first: 0, last: 40 });
  const look = (): void => {
    const { scrollTop, clientHeight } = body.current!;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE_ROWS);
    const last = Math.ceil((scrollTop + clientHeight) / ROW) + SPARE_ROWS;
    setWindow((before) => (before.first === first && before.last === last ? before : { first, last }));
    need(last);
  };
  useEffect(() => {
    look();
    const resized = new ResizeObserver(look);
    resized.observe(body.current!);
    return () => resized.disconnect();
  }, [need]);
  useEffect(() => body.current?.scrollTo(0, 0), [orderBy]);
  const shown = runs.slice(window.first, window.last);
  const losses = useLosses(columns.some(({ id }) => id === 'curve') ? shown : []);
  const template = `24px ${columns.map(({ width }) => width).join(' ')}`;
  const width = 24 + columns.reduce((sum, one) => sum + Number(/(\d+)px/.exec(one.width)?.[1] ?? 0) + 16, 32);
  return (
    <div class="card grid-table" style={{ '--table-width': `${width}px` }} role="table" aria-label="Runs" aria-rowcount={total + 1}>
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
      <div class="body" ref={body} onScroll={look} tabIndex={0} role="rowgroup" aria-label="Runs">
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
                {cell(run, losses.get(run.runId) ?? [])}
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
