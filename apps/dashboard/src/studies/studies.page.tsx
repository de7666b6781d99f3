// The view of studies: runs that are compared over seeds, settings, recipes and baselines.
import { intactValue, LEAST_SPARSITY_POINTS, measureName, measureNames, measureOf } from '../../../../libs/comparison/src/index.js';
import { useEffect, useState } from 'preact/hooks';
import { May } from '../api/caller.js';
import { studyService } from '../api/client.js';
import { useChanges } from '../api/live.js';
import { useLoaded } from '../api/loaded-data.js';
import { StudyService, StudyStatus, type GetStudyResponse, type Study } from '../generated/espalier/v1/study_service_pb.js';
import type { Page } from '../ui/page.js';
import { count, decimal, NONE, percent, plainNumber, time } from '../ui/format.js';
import { Meter } from '../ui/meter.js';
import { Heads } from '../ui/heads.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { Anchor, setQuery } from '../ui/router.js';
import { Scatter } from '../ui/charts/scatter.js';
import { conditionsIn } from '../runs/conditions.js';
import { RUN_PLOTS, RunPlots } from '../runs/plots/run-plots.js';
import { LabelledSelect } from '../ui/labelled-select.js';
import { ReasonForm } from '../forms/reason-form.js';
import { scatterLines } from './plot-lines.js';
import { StudyForm } from './study-form.js';
import { StudyRuns } from './study-runs.js';

const LOOK_AGAIN_MS = 2_000;
const TONES = {
  [StudyStatus.RUNNING]: 'live',
  [StudyStatus.COMPLETED]: 'good',
  [StudyStatus.CANCELLED]: 'quiet',
  [StudyStatus.UNSPECIFIED]: 'quiet',
};

function StudyState({ status }: { status: StudyStatus }) {
  return (
    <span class={`status ${TONES[status]}`}>
      <span class={`dot ${TONES[status]}`} />
      {StudyStatus[status].toLowerCase()}
    </span>
  );
}

const endedOf = ({ runsCompleted, runsFailed, runsCancelled }: Study): number => runsCompleted + runsFailed + runsCancelled;

/** Loads data about studies. The stream tells of changes of runs; only loading again finds the next launches of a study. */
function useStudies<T>(key: string, load: (signal: AbortSignal) => Promise<T>) {
  const loaded = useLoaded(key, load);
  useChanges(() => true, loaded.reload, LOOK_AGAIN_MS, key);
  return loaded;
}

export const page: Page = { name: 'Studies', place: 2, View: StudiesView };

function StudiesView() {
  const loaded = useStudies('studies', async (signal) => (await studyService.listStudies({}, { signal })).studies);
  const { data: studies, trouble } = loaded;
  const [isLaunching, setLaunching] = useState(false);
  if (studies === undefined) return <Pending loaded={loaded} />;
  const form = isLaunching && <StudyForm close={() => setLaunching(false)} />;
  const button = (
    <May call={StudyService.method.launchStudyFile}>
      <button class="main" onClick={() => setLaunching(true)}>
        New study
      </button>
    </May>
  );
  if (studies.length === 0)
    return (
      <div class="card empty">
        <h1>No studies yet</h1>
        <p>A study is many runs from one file: recipes, baselines, settings and seeds, compared in one table and one plot.</p>
        <br />
        <p>{button}</p>
        {form}
      </div>
    );
  return (
    <>
      <div class="bar">
        <h1>Studies</h1>
        <span class="actions">{button}</span>
      </div>
      {form}
      <TroubleNote trouble={trouble} />
      <section class="card" aria-label="All studies">
        <Scroll label="All studies">
          <table class="plain num">
            <Heads names={['Name', 'State', 'Runs', 'Completed', 'Failed', 'Launched']} numbers={['Runs', 'Completed', 'Failed']} />
            <tbody>
              {studies.map((study) => (
                <tr key={study.studyId}>
                  <td>
                    <Anchor to={`/studies/${study.studyId}`}>{study.name}</Anchor>
                  </td>
                  <td>
                    <StudyState status={study.status} />
                  </td>
                  <td class="right">{count(study.runs)}</td>
                  <td class="right">{count(study.runsCompleted)}</td>
                  <td class="right">{count(study.runsFailed)}</td>
                  <td>{time(study.launchedAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </section>
    </>
  );
}

export function StudyView({ studyId, query }: { studyId: string; query: URLSearchParams }) {
  const loaded = useStudies(`study ${studyId}`, (signal) => studyService.getStudy({ studyId }, { signal }));
  const { data, trouble, reload } = loaded;
  const [isCancelling, setCancelling] = useState(false);
  const study = data?.study;
  useEffect(() => {
    document.title = study === undefined ? 'Study · Espalier' : `${study.name} · Espalier`;
  }, [study?.name]);
  if (data === undefined || study === undefined)
    return (
      <Pending loaded={loaded} heading={`No study ${studyId}`}>
        <Anchor to="/studies">All studies</Anchor>
      </Pending>
    );
  const plot = query.get('plot') ?? '';
  const compared = data.runs.flatMap(({ run }) => (run === undefined ? [] : [run.runId]));
  return (
    <>
      <div class="bar">
        <h1>{study.name}</h1>
        <StudyState status={study.status} />
        <code class="soft">{study.studyId}</code>
        <span class="actions">
          {compared.length > 1 && (
            <Anchor class="button" to={`/compare?runs=${compared.slice(0, MOST_COMPARED).join(',')}`}>
              Compare curves
            </Anchor>
          )}
          {study.status === StudyStatus.RUNNING && (
            <May call={StudyService.method.cancelStudy} launchedBy={study.launchedBy}>
              <button class="danger" onClick={() => setCancelling(true)}>
                Cancel
              </button>
            </May>
          )}
        </span>
      </div>
      <TroubleNote trouble={trouble} />
      {study.note !== '' && <p class="soft">{study.note}</p>}
      {study.waitingFor !== '' && <p class="note">{study.waitingFor}</p>}
      <Meter share={study.runs === 0 ? 0 : endedOf(study) / study.runs} label="runs ended" />
      <p class="soft num">
        {[
          `${count(study.runsCompleted)} of ${count(study.runs)} completed`,
          `${count(study.runsUnderWay)} under way`,
          `${count(study.runsWaiting)} waiting`,
          `${count(study.runsFailed)} failed`,
          `${count(study.runsCancelled)} cancelled`,
        ].join(', ')}
      </p>
      <div class="stack below">
        <div class="bar">
          <LabelledSelect
            label="Show"
            value={Object.hasOwn(RUN_PLOTS, plot) ? plot : ''}
            options={{ '': 'the groups', ...RUN_PLOTS }}
            changed={(kind) => setQuery({ plot: kind, where: '' })}
          />
        </div>
        {Object.hasOwn(RUN_PLOTS, plot) ? (
          <StudyPlots data={data} kind={plot} query={query} />
        ) : (
          <>
            <Picture data={data} measure={query.get('measure') ?? ''} />
            <Groups data={data} measure={query.get('measure') ?? ''} />
            <StudyRuns runs={data.runs} />
          </>
        )}
      </div>
      {isCancelling && (
        <ReasonForm
          title={`Cancel ${study.name}`}
          button="Cancel the study"
          act={(reason) => studyService.cancelStudy({ studyId: study.studyId, reason })}
          close={() => setCancelling(false)}
          done={() => {
            reload();
            setCancelling(false);
          }}
        >
          No more of its runs are launched, and those under way are cancelled. What has completed stays.
        </ReasonForm>
      )}
    </>
  );
}

const MOST_COMPARED = 12;

/** The runs of the study as points or lines, each in the colour of its variant. The table has the runs of the area that a reader marks. */
function StudyPlots({ data, kind, query }: { data: GetStudyResponse; kind: string; query: URLSearchParams }) {
  const variants = new Map(data.runs.flatMap(({ run, variant }) => (run === undefined ? [] : [[run.runId, variant] as const])));
  const selection = { text: '', statuses: [], tags: [], where: conditionsIn(query.get('where') ?? ''), runIds: [...variants.keys()] };
  return (
    <RunPlots
      kind={kind}
      selection={selection}
      query={query}
      kindOf={({ runId }) => variants.get(runId) ?? ''}
      kinds={[...new Set(data.groups.map(({ variant }) => variant))]}
      source={`study ${data.study?.name ?? ''}, `}
    >
      {(drawn) => {
        const ids = new Set(drawn.map(({ runId }) => runId));
        return <StudyRuns runs={data.runs.filter(({ run }) => run !== undefined && ids.has(run.runId))} />;
      }}
    </RunPlots>
  );
}

function Picture({ data, measure }: { data: GetStudyResponse; measure: string }) {
  const names = measureNames(data.groups);
  const lines = scatterLines(data.groups, measure);
  if (lines.length === 0)
    return (
      <div class="card empty">
        <h2>Nothing to draw yet</h2>
        <p>A point appears when a run has completed and was evaluated on its validation text.</p>
      </div>
    );
  const name = measure === '' ? names[0]! : measure;
  const intact = intactValue(data.groups, measure);
  return (
    <>
      {names.length > 1 && (
        <div class="bar">
          <label>
            Quality by
            <select
              value={name}
              onChange={({ currentTarget }) => setQuery({ measure: currentTarget.value === names[0] ? '' : currentTarget.value })}
            >
              {names.map((one) => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
            </select>
          </label>
        </div>
      )}
      <Scatter
        title={`${name} against sparsity`}
        about="bars: standard deviation over seeds"
        x={{ name: 'sparsity, %', words: (value) => `${Number(value.toFixed(6))} %`, least: LEAST_SPARSITY_POINTS }}
        y={{ name }}
        lines={lines}
        source={`Espalier, study ${data.study?.name ?? ''}`}
        reference={intact === undefined ? undefined : { y: intact, label: `before pruning: ${decimal(intact)}` }}
      />
    </>
  );
}

function Groups({ data, measure }: { data: GetStudyResponse; measure: string }) {
  const { groups } = data;
  const fields = [...new Set(groups.flatMap(({ settings }) => Object.keys(settings)))];
  const first = groups.map((group) => measureOf(group, measure)).find((one) => one !== undefined);
  return (
    <section class="card" aria-label="Groups">
      <header>
        <h2>Groups</h2>
        <span class="soft">runs that differ by their seed only{first === undefined ? '' : `; ${first.convention}`}</span>
      </header>
      <Scroll label="Groups">
        <table class="plain num">
          <thead>
            <tr>
              <th>Variant</th>
              {fields.map((field) => (
                <th key={field}>{field.replaceAll('_', ' ')}</th>
              ))}
              <th class="right">Completed</th>
              <th class="right">Sparsity</th>
              <th class="right">{first === undefined ? 'perplexity' : measureName(first)}</th>
              <th class="right">Spread</th>
              <th class="right">Range</th>
            </tr>
          </thead>
          <tbody>
            {groups.map((group, index) => {
              const figure = measureOf(group, measure)?.figure;
              return (
                <tr key={index}>
                  <td>{group.variant}</td>
                  {fields.map((field) => (
                    <td key={field}>{plainNumber(group.settings[field] ?? NONE)}</td>
                  ))}
                  <td class="right">
                    {count(group.runsCompleted)} of {count(group.runs)}
                  </td>
                  <td class="right">{group.sparsity === undefined ? NONE : percent(group.sparsity.mean)}</td>
                  <td class="right">{decimal(figure?.mean)}</td>
                  <td class="right">{figure?.spread === undefined ? NONE : `± ${decimal(figure.spread)}`}</td>
                  <td class="right">
                    {figure === undefined || figure.n < 2 ? NONE : `${decimal(figure.lowest)} to ${decimal(figure.highest)}`}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
