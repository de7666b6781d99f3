// The view of all runs: the filter and the order, and the table or the groups of the matching runs.
import { useEffect, useState } from 'preact/hooks';
import { May } from '../api/caller.js';
import { troubleOf, type Trouble } from '../api/client.js';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { RunService } from '../generated/espalier/v1/run_service_pb.js';
import type { Page } from '../ui/page.js';
import { count, statusWord } from '../ui/format.js';
import { Fold } from '../ui/fold.js';
import { LabelledSelect } from '../ui/labelled-select.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { go, setQuery } from '../ui/router.js';
import { Typed } from '../ui/typed-field.js';
import { useNarrow } from '../ui/narrow.js';
import { ColumnChoice } from './column-choice.js';
import { columnsOf, columnsText, OWN_COLUMNS, storeColumns, storedColumns, taskColumns } from './columns.js';
import { MOST_COMPARED } from './compare/compared-figures.js';
import { conditionsIn } from './conditions.js';
import { groupingChoices } from './group-words.js';
import { RunGroups } from './groups.js';
import { MeanCurves } from './plots/mean-curves.js';
import { RUN_PLOTS, RunPlots } from './plots/run-plots.js';
import { allRunIds, useRunPages, type RunFilter, type RunPages } from './run-pages.js';
import { RunTable } from './run-table.js';
import { ViewsMenu } from './views-menu.js';

const PAUSE_MS = 50;
const NO_FILTER = { q: '', tags: '', status: '', where: '' };
const STATUSES = Object.values(RunStatus).filter((one): one is RunStatus => typeof one === 'number' && one !== RunStatus.UNSPECIFIED);
const PLOTS = { '': 'the list alone', ...RUN_PLOTS, curves: 'mean curves' };
const GROUPINGS = { '': 'nothing', ...groupingChoices() };

export const page: Page = { name: 'Runs', place: 1, View: RunsView };

function RunsView({ query, launch }: { query: URLSearchParams; launch: () => void }) {
  const text = query.get('q') ?? '';
  const statuses = STATUSES.filter((one) => query.get('status')?.split(',').includes(statusWord(one)));
  const tags = (query.get('tags') ?? '').split(',').filter(Boolean);
  const where = conditionsIn(query.get('where') ?? '');
  const by = (query.get('group') ?? '').split(',').filter(Boolean);
  const selection = { text, statuses, tags, where };
  const filter: RunFilter = { ...selection, orderBy: query.get('order') ?? 'launched_at desc' };
  const pages = useRunPages(filter);
  const plot = query.get('plot') ?? '';
  const isNarrow = useNarrow();
  const columns = columnsOf(query.get('columns'), isNarrow);
  useEffect(() => {
    // A link shows what its sender saw. So the address holds the columns whenever they are not the default ones.
    if (!query.has('columns') && storedColumns() !== '') setQuery({ columns: storedColumns() });
  }, []);
  const [picked, setPicked] = useState<string[]>([]);
  const isFiltered = text !== '' || statuses.length > 0 || tags.length > 0 || where.length > 0;
  const pick = (runId: string, is: boolean): void =>
    setPicked((before) => (is ? [...before, runId] : before.filter((one) => one !== runId)));
  const filters = <FilterBar text={text} tags={tags} where={where} status={statuses[0]} by={by} />;
  return (
    <>
      <div class="bar">
        <h1>Runs</h1>
        <span class="soft num" aria-live="polite">
          {pages.total === undefined ? '' : `${count(pages.total)} ${isFiltered ? 'found' : 'in all'}`}
        </span>
        {by.length === 0 && <Picked picked={picked} setPicked={setPicked} pages={pages} filter={filter} />}
        <span class="actions">
          <LabelledSelect label="Show" value={plot} options={PLOTS} changed={(kind) => setQuery({ plot: kind })} />
          <ViewsMenu query={query} />
          <ColumnChoice
            all={[...OWN_COLUMNS, ...taskColumns(pages.runs)]}
            shown={columns}
            changed={(ids) => {
              storeColumns(columnsText(ids));
              setQuery({ columns: columnsText(ids) });
            }}
          />
        </span>
      </div>
      {isNarrow ? (
        <Fold id="filters" title="Filters" words={filterWords(query)}>
          {filters}
        </Fold>
      ) : (
        filters
      )}
      {Object.hasOwn(RUN_PLOTS, plot) && (pages.total !== 0 || isFiltered) && <RunPlots kind={plot} selection={selection} query={query} />}
      {plot === 'curves' && pages.total !== 0 && <MeanCurves filter={filter} by={by} query={query} />}
      {by.length > 0 ? (
        <RunGroups by={by} filter={filter} columns={columns} />
      ) : pages.total === undefined && pages.runs.length === 0 ? (
        <Pending loaded={{ ...pages, data: undefined }} heading="The runs can&rsquo;t be listed">
          {isFiltered && <button onClick={() => setQuery(NO_FILTER)}>Show all runs</button>}
        </Pending>
      ) : pages.total === 0 ? (
        <Empty isFiltered={isFiltered} launch={launch} />
      ) : (
        <>
          <TroubleNote trouble={pages.trouble} />
          <RunTable {...pages} columns={columns} orderBy={filter.orderBy} picked={picked} pick={pick} pickAll={setPicked} />
        </>
      )}
    </>
  );
}

/** Says the filters in one line. */
const filterWords = (query: URLSearchParams): string =>
  ['q', 'tags', 'where', 'status', 'group']
    .map((name) => query.get(name) ?? '')
    .filter(Boolean)
    .join(' · ') || 'none';

interface PickedProps {
  picked: string[];
  setPicked: (runIds: string[]) => void;
  pages: RunPages;
  filter: RunFilter;
}

/** The buttons for the chosen runs. The list loads page by page, so all matching runs are asked for separately. */
function Picked({ picked, setPicked, pages: { runs, total = 0 }, filter }: PickedProps) {
  const [trouble, setTrouble] = useState<Trouble>();
  const pickAll = async (): Promise<void> => {
    try {
      setPicked(await allRunIds(filter));
      setTrouble(undefined);
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <>
      <button disabled={picked.length < 2 || picked.length > MOST_COMPARED} onClick={() => go(`/compare?runs=${picked.join(',')}`)}>
        Compare {picked.length > 0 ? count(picked.length) : ''}
      </button>
      {picked.length > 0 && picked.length < total && picked.length >= Math.min(runs.length, total) && (
        <button class="plain" onClick={() => void pickAll()}>
          Choose all {count(total)} that match
        </button>
      )}
      {picked.length > 0 && (
        <button class="plain" onClick={() => setPicked([])}>
          Choose none
        </button>
      )}
      {picked.length > MOST_COMPARED && (
        <button class="plain" onClick={() => setQuery({ plot: 'curves' })}>
          A reader can&rsquo;t tell more than {MOST_COMPARED} lines apart: show mean curves
        </button>
      )}
      <TroubleNote trouble={trouble} />
    </>
  );
}

interface FilterProps {
  text: string;
  tags: string[];
  where: string[];
  status: RunStatus | undefined;
  by: string[];
}

function FilterBar({ text, tags, where, status, by }: FilterProps) {
  return (
    <div class="bar" role="search">
      <label>
        Name contains
        <Typed
          type="search"
          maxLength={200}
          title="a part of the name; with *, a pattern of the whole name"
          value={text}
          changed={(q) => setQuery({ q })}
          pauseMs={PAUSE_MS}
        />
      </label>
      <label>
        Tags
        <Typed
          type="search"
          maxLength={200}
          title="runs that have all of these, with commas between"
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
          value={status === undefined ? '' : statusWord(status)}
          onChange={({ currentTarget }) => setQuery({ status: currentTarget.value })}
        >
          <option value="">any</option>
          {STATUSES.map((one) => (
            <option key={one} value={statusWord(one)}>
              {statusWord(one)}
            </option>
          ))}
        </select>
      </label>
      <LabelledSelect
        label="Group by"
        value={by[0] ?? ''}
        options={GROUPINGS}
        changed={(first) => setQuery({ group: first === '' ? '' : [first, ...by.slice(1).filter((one) => one !== first)].join(',') })}
      />
      {by.length > 0 && (
        <LabelledSelect
          label="and by"
          value={by[1] ?? ''}
          options={GROUPINGS}
          changed={(second) => setQuery({ group: [by[0]!, ...(second === '' || second === by[0] ? [] : [second])].join(',') })}
        />
      )}
    </div>
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
      <May call={RunService.method.launchRun}>
        <p>
          <button class="main" onClick={launch}>
            Launch the first one
          </button>{' '}
          or, on the command line, <code>npx espalier launch --model MODEL --data TEXT</code>
        </p>
      </May>
    </div>
  );
}
