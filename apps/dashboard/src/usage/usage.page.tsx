// The view of engine time: for how long the runs of each person, each run or each study had engines.
import { usageCsv } from '../../../../libs/comparison/src/index.js';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { runService } from '../api/client.js';
import { useLoaded } from '../api/loaded-data.js';
import { UsageBy, type EngineQuota, type GetUsageResponse, type UsageRow } from '../generated/espalier/v1/run_service_pb.js';
import { count, duration, NONE } from '../ui/format.js';
import { LabelledSelect } from '../ui/labelled-select.js';
import type { Page } from '../ui/page.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Anchor, setQuery } from '../ui/router.js';
import { download } from '../ui/save-file.js';
import { Scroll } from '../ui/scroll.js';

const BY = { person: UsageBy.CALLER, run: UsageBy.RUN, study: UsageBy.STUDY };
const WORDS = { person: 'people', run: 'runs', study: 'studies' };
type By = keyof typeof BY;
const DAYS = { '': 'the last 30 days', '1': 'the last day', '7': 'the last 7 days', '365': 'the last 365 days', all: 'all time' };
const USUAL_DAYS = 30;
const DAY_MS = 24 * 3_600_000;

export const page: Page = { name: 'Usage', place: 3, View: UsageView };

function UsageView({ query }: { query: URLSearchParams }) {
  const asked = query.get('by') ?? '';
  const by: By = asked in BY ? (asked as By) : 'person';
  const days = query.get('days') ?? '';
  const from = days === 'all' ? undefined : timestampFromMs(Date.now() - (Number(days) || USUAL_DAYS) * DAY_MS);
  const loaded = useLoaded(`usage ${by} ${days}`, (signal) => runService.getUsage({ by: BY[by], from }, { signal }));
  const { data, trouble } = loaded;
  return (
    <>
      <div class="bar">
        <h1>Usage</h1>
        <span class="actions">
          <LabelledSelect label="Show" value={by} options={WORDS} changed={(value) => setQuery({ by: value })} />
          <LabelledSelect label="In" value={days} options={DAYS} changed={(value) => setQuery({ days: value })} />
          {data !== undefined && (
            <button onClick={() => download(`usage by ${by}.csv`, 'text/csv', usageCsv(data.rows))}>Save as CSV</button>
          )}
        </span>
      </div>
      <TroubleNote trouble={trouble} />
      {data === undefined ? <Pending loaded={loaded} /> : <Rows data={data} by={by} />}
    </>
  );
}

function Rows({ data: { rows, moreRows, engineSeconds, quotas }, by }: { data: GetUsageResponse; by: By }) {
  if (rows.length === 0) return <p class="card empty">No run had an engine in this time.</p>;
  const quotaOf = new Map(quotas.map((quota) => [quota.caller, quota]));
  return (
    <section class="card" aria-label="Engine time">
      <header>
        <h2>{duration(engineSeconds)} in all</h2>
        <span class="soft">from the start of each attempt to its end; evaluations and exports after a run are not counted</span>
      </header>
      <Scroll label="Engine time">
        <table class="plain num">
          <thead>
            <tr>
              <th>{{ person: 'Person', run: 'Run', study: 'Study' }[by]}</th>
              {by === 'run' ? <th>Person</th> : <th class="right">Runs</th>}
              <th class="right">Attempts</th>
              <th class="right">Engine time</th>
              {quotas.length > 0 && <th>Quota</th>}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={`${row.caller} ${row.runId} ${row.studyId}`}>
                <td>
                  <Name row={row} by={by} />
                </td>
                {by === 'run' ? <td>{personOf(row)}</td> : <td class="right">{count(row.runs)}</td>}
                <td class="right">{count(row.attempts)}</td>
                <td class="right">{duration(row.engineSeconds)}</td>
                {quotas.length > 0 && <td>{quotaWords(quotaOf.get(row.caller))}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {moreRows > 0 && <p class="soft">{count(moreRows)} rows with less time are left out.</p>}
    </section>
  );
}

function Name({ row, by }: { row: UsageRow; by: By }) {
  if (by === 'run') return <Anchor to={`/runs/${row.runId}`}>{row.runName || row.runId}</Anchor>;
  if (by === 'person') return <>{personOf(row)}</>;
  return row.studyId === '' ? <>no study</> : <Anchor to={`/studies/${row.studyId}`}>{row.studyName}</Anchor>;
}

const personOf = ({ caller, callerName }: UsageRow): string => callerName || caller || NONE;

function quotaWords(quota: EngineQuota | undefined): string {
  if (quota === undefined) return 'no limit';
  const hours = (seconds: number): string => (seconds / 3_600).toFixed(1);
  return `${hours(quota.usedSeconds)} of ${hours(quota.allowedSeconds)} h in ${count(quota.days)} d`;
}
