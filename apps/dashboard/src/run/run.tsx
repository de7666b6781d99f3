// The view of one run: its state, the commands on it, and its tabs.
import { missAdvice, reachedWords, shareGone, targetWithBudget } from '../../../../libs/comparison/src/index.js';
import { useEffect, useState } from 'preact/hooks';
import { runService } from '../api/client.js';
import { useChanges } from '../api/live.js';
import { useLoaded, useRepeated } from '../api/loaded-data.js';
import { ForkForm } from '../forms/run/fork-form.js';
import { RunStatus, ShapeTarget } from '../generated/espalier/v1/common_pb.js';
import type { Budget, Run } from '../generated/espalier/v1/run_service_pb.js';
import { endOf, headlineOf, nameOf, stepOf } from '../runs/columns.js';
import {
  count,
  counted,
  decimal,
  duration,
  missedTarget,
  NONE,
  percent,
  runStatusWords,
  short,
  standingOf,
  teacherWord,
} from '../ui/format.js';
import { Fold } from '../ui/fold.js';
import { Meter } from '../ui/meter.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Status } from '../ui/status.js';
import { useCurrentInSight } from '../ui/current-in-sight.js';
import { Anchor } from '../ui/router.js';
import { Actions } from './actions.js';
import { CurvesTab } from './curves/curves.js';
import { EvaluationsTab } from './results/evaluations.js';
import { FamilyTab } from './record/family.js';
import { HistoryTab } from './record/history.js';
import { FrontierTab, isScan } from './results/frontier.js';
import { LadderTab } from './results/ladder.js';
import { MasksTab } from './masks/masks.js';
import { SettingsTab } from './settings.js';
import { TeachersTab } from './teachers.js';
import { TextsTab } from './results/texts.js';
import { Integrity } from './record/integrity.js';

const LIVE_EVERY_MS = 1_000;
const TABS = {
  '': { title: 'Curves', view: CurvesTab },
  teachers: { title: 'Teachers', view: TeachersTab },
  masks: { title: 'Masks', view: MasksTab },
  ladder: { title: 'Ladder', view: LadderTab },
  evaluations: { title: 'Evaluations and engine', view: EvaluationsTab },
  texts: { title: 'Texts', view: TextsTab },
  family: { title: 'Family', view: FamilyTab },
  history: { title: 'History', view: HistoryTab },
  settings: { title: 'Settings', view: SettingsTab },
};
/** A scan leaves its model intact, and so it has no teachers, masks or smaller models. */
const { evaluations, family, history, settings } = TABS;
const TABS_OF_SCAN = { '': { title: 'Frontier', view: FrontierTab }, evaluations, family, history, settings };
type TabsOfRun = Partial<typeof TABS> & Pick<typeof TABS, ''>;
const tabsOf = (run: Run | undefined): TabsOfRun => (run !== undefined && isScan(run) ? TABS_OF_SCAN : TABS);

export function RunView({ runId, tab, query }: { runId: string; tab: string; query: URLSearchParams }) {
  const loaded = useLoaded(`run ${runId}`, async (signal) => (await runService.getRun({ runId }, { signal })).run!);
  const { data: run, trouble, reload } = loaded;
  const tabs = tabsOf(run);
  const { view: View, title } = tabs[tab as keyof typeof TABS] ?? tabs[''];
  const [fork, setFork] = useState<{ stateDigest: string | null } | null>(null);
  useChanges((change) => change.runId === (run?.runId ?? runId), reload, 300, run?.runId ?? runId);
  const isAtWork =
    run !== undefined && [RunStatus.TRAINING, RunStatus.PREPARING, RunStatus.QUEUED, RunStatus.RESTARTING].includes(run.status);
  // Steps that are not recorded yet have no event, so the run is loaded again and again.
  useRepeated(reload, LIVE_EVERY_MS, isAtWork);
  useEffect(() => {
    document.title = run === undefined ? 'Run · Espalier' : `${title} · ${nameOf(run)} · ${runStatusWords(run)} · Espalier`;
  }, [run?.name, run?.status, title]);
  if (run === undefined)
    return (
      <Pending loaded={loaded} heading={`No run ${runId}`}>
        <Anchor to="/">All runs</Anchor>
      </Pending>
    );
  return (
    <>
      <div class="bar">
        <h1>{nameOf(run)}</h1>
        <Status run={run} />
        <code class="soft">{run.runId}</code>
        {run.tags.map((tag) => (
          <Anchor to={`/?tags=${encodeURIComponent(tag)}`} class="tag" key={tag}>
            {tag}
          </Anchor>
        ))}
        <span class="actions">
          <Integrity run={run} />
          <Actions run={run} changed={reload} fork={() => setFork({ stateDigest: null })} />
        </span>
      </div>
      <TroubleNote trouble={trouble} />
      <Notes run={run} />
      <Meter share={endOf(run) > 0n ? Number(stepOf(run)) / Number(endOf(run)) : 0} label="steps done" />
      <Figures run={run} />
      <Tabs run={run} tab={tab} />
      <View run={run} query={query} fork={(stateDigest) => setFork({ stateDigest })} />
      {fork !== null && <ForkForm parent={run} stateDigest={fork.stateDigest} close={() => setFork(null)} />}
    </>
  );
}

function Tabs({ run, tab }: { run: Run; tab: string }) {
  const row = useCurrentInSight(tab);
  return (
    <nav class="tabs" aria-label="Views of the run" ref={row}>
      {Object.entries(tabsOf(run)).map(([id, { title }]) => (
        <Anchor key={id} to={`/runs/${run.runId}${id === '' ? '' : `/${id}`}`} aria-current={tab === id ? 'page' : undefined}>
          {title}
        </Anchor>
      ))}
    </nav>
  );
}

/** The notes that a reader has to see first. */
function Notes({ run }: { run: Run }) {
  const { waitingFor, queuedFor, failure, note, damage, preparation } = run;
  return (
    <>
      {damage.length > 0 && (
        <p class="trouble">
          {counted(damage.length, 'event')} of the record can&rsquo;t be read. The first problem: {damage[0]!.problem}
        </p>
      )}
      {failure !== undefined && run.status === RunStatus.FAILED && (
        <p class="trouble">
          {failure.message} <code>{failure.code}</code>
        </p>
      )}
      {queuedFor !== '' && <p class="note">It waits for {queuedFor}.</p>}
      {waitingFor !== undefined && (
        <p class="note">
          {waitingFor.message} {waitingFor.command !== '' && <code>{waitingFor.command}</code>}
        </p>
      )}
      {preparation !== undefined && preparation.doing !== '' && (
        <p class="note">
          {preparation.doing} ({percent(preparation.doneShare, 0)})
        </p>
      )}
      {missedTarget(standingOf(run)) && (
        <p class="note">
          Pruning ended with a hard sparsity of {percent(run.hardSparsity)}, more than one point away from its target of{' '}
          {targetWithBudget(run.settings ?? {})}; {adviceOf(run)}.
        </p>
      )}
      {note !== '' && <p class="soft users-note">{note}</p>}
    </>
  );
}

function adviceOf({ expectedSparsity, settings }: Run): string {
  const { targetSparsity = NaN, shapeTarget } = settings ?? {};
  const isFree = [undefined, ShapeTarget.UNSPECIFIED, ShapeTarget.FREE].includes(shapeTarget);
  const names = { steps: 'steps', maskRate: 'mask learning rate', freeShapes: 'free shapes' };
  return missAdvice({ expectedSparsity, targetSparsity, isFree }, names);
}

function budgetFigure({ unit, asked, intact, predicted }: Budget): [term: string, value: string, more: string] {
  const value = predicted === undefined ? NONE : short(predicted);
  return [`Budget in ${unit}`, value, `asked ${short(asked)} of ${short(intact)}`];
}

function Figures({ run }: { run: Run }) {
  const masked = headlineOf(run);
  const intact = run.evaluations.findLast(
    ({ subject, dataDigest, window }) =>
      subject === 'intact' && (masked === undefined || (dataDigest === masked.dataDigest && window === masked.window)),
  );
  const live = run.liveMetrics ?? run.lastStep;
  const figures: [term: string, value: string, more: string][] = [
    [
      'Step',
      count(stepOf(run)),
      run.stepsToChoose ? 'steps are chosen first' : `of ${count(endOf(run))}${run.phases.length > 1 ? `, ${run.phase}` : ''}`,
    ],
    ['Expected sparsity', percent(live?.expectedSparsity ?? run.expectedSparsity), `of ${targetWithBudget(run.settings ?? {})}`],
    ['Hard sparsity', reachedWords(run.hardSparsity, run.budget), `${percent(shareGone(run))} of all parameters`],
    ['Parameters', run.result === undefined ? NONE : short(Number(run.result.parameterCount)), `of ${short(Number(run.parameterCount))}`],
    ...(run.budget === undefined ? [] : [budgetFigure(run.budget)]),
    ['Loss', decimal(live?.loss), ''],
    ['Perplexity', decimal(masked?.perplexity), intact === undefined ? '' : `intact ${decimal(intact.perplexity)}`],
    ['Teacher', teacherWord(run.teacher), `${run.teacherCount} kept`],
    ['Speed', run.tokensPerSecond > 0 ? short(run.tokensPerSecond) : NONE, 'tokens/s'],
    ['Time of training', duration(run.trainingSeconds), run.etaSeconds > 0 ? `${duration(run.etaSeconds)} left` : ''],
  ];
  const shown = figures.filter(([term]) => !isScan(run) || !FIGURES_OF_PRUNING.includes(term));
  const first = shown.filter(([term]) => FIRST_FIGURES.includes(term));
  const words = first.map(([term, value, more]) => (
    <span key={term}>
      <span>{term}</span> <b>{value}</b> {term === 'Hard sparsity' ? '' : more}
    </span>
  ));
  return (
    <Fold id="figures" title="Figures" words={words}>
      <dl class="figures">
        {shown.map(([term, value, more]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>
              {value}
              <small>{more || '\u00a0'}</small>
            </dd>
          </div>
        ))}
      </dl>
    </Fold>
  );
}

/** The figures that stand in the line to which they fold. */
const FIRST_FIGURES = ['Step', 'Hard sparsity', 'Parameters', 'Loss', 'Perplexity'];
/** The figures that a scan lacks. */
const FIGURES_OF_PRUNING = ['Expected sparsity', 'Hard sparsity', 'Teacher'];
