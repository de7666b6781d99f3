// The columns of the list of runs.
import type { ComponentChildren } from 'preact';
import { measureName, reachedWords, shareGone, targetWithBudget } from '../../../../libs/comparison/src/index.js';
import type { Evaluation } from '../generated/espalier/v1/common_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import {
  ago,
  count,
  decimal,
  duration,
  NONE,
  percent,
  plainNumber,
  runStatusWords,
  short,
  standingOf,
  statusTone,
  teacherWord,
} from '../ui/format.js';
import { Sparkline } from '../ui/charts/sparkline.js';
import { Meter } from '../ui/meter.js';
import { Status } from '../ui/status.js';
import { Anchor } from '../ui/router.js';
import { SETTING_FIELDS, wordsOf } from '../forms/run/setting-table.js';

export interface Column {
  id: string;
  title: string;
  /** The width in the form of a CSS grid. */
  width: string;
  right?: boolean;
  /** The name by which ListRuns orders the column, and whether the highest value comes first. */
  order?: { by: string; descends: boolean };
  cell: (run: Run, losses: number[] | undefined) => ComponentChildren;
}

export const headlineOf = (run: Run) => run.evaluations.find(({ headline }) => headline);
export const stepOf = (run: Run): bigint => (run.liveStep > run.step ? run.liveStep : run.step);
export const endOf = (run: Run): bigint => run.phases.at(-1)?.endStep ?? BigInt(run.settings?.totalSteps ?? 0);
export const nameOf = (run: { name: string; runId: string }): string => run.name || run.runId;

const COLUMNS: Column[] = [
  {
    id: 'name',
    title: 'Name',
    width: 'minmax(var(--name-width), 2fr)',
    order: { by: 'name', descends: false },
    cell: (run) => (
      <>
        <span class={`dot ${statusTone(standingOf(run))}`} title={runStatusWords(run)} />
        <Anchor to={`/runs/${run.runId}`}>{nameOf(run)}</Anchor>
        {run.tags.slice(0, 3).map((tag) => (
          <span class="tag" key={tag}>
            {tag}
          </span>
        ))}
      </>
    ),
  },
  { id: 'id', title: 'Id', width: '130px', order: { by: 'id', descends: false }, cell: (run) => <code>{run.runId}</code> },
  {
    id: 'model',
    title: 'Model',
    width: '180px',
    order: { by: 'model', descends: false },
    cell: (run) => run.modelPath.replace(/^.*\/(?=.)/, ''),
  },
  { id: 'status', title: 'Status', width: '106px', order: { by: 'status', descends: false }, cell: (run) => <Status run={run} /> },
  {
    id: 'progress',
    title: 'Progress',
    width: 'minmax(72px, 1fr)',
    order: { by: 'share_done', descends: true },
    cell: (run) => <Meter share={endOf(run) > 0n ? Number(stepOf(run)) / Number(endOf(run)) : 0} label="steps done" />,
  },
  { id: 'step', title: 'Step', width: '76px', right: true, order: { by: 'step', descends: true }, cell: (run) => count(stepOf(run)) },
  {
    id: 'sparsity',
    title: 'Sparsity',
    width: '116px',
    right: true,
    order: { by: 'sparsity', descends: true },
    cell: (run) => (
      <span title={`${reachedWords(run.hardSparsity, run.budget)}; target: ${targetWithBudget(run.settings ?? {})}`}>
        {run.step === 0n ? NONE : percent(shareGone(run))}
      </span>
    ),
  },
  {
    id: 'perplexity',
    title: 'Perplexity',
    width: '84px',
    right: true,
    order: { by: 'perplexity', descends: false },
    cell: (run) => decimal(headlineOf(run)?.perplexity),
  },
  {
    id: 'curve',
    title: 'Loss',
    width: '96px',
    order: { by: 'loss', descends: false },
    cell: (run, losses) => <Sparkline values={losses} label={`loss of ${nameOf(run)}`} />,
  },
  {
    id: 'loss',
    title: 'Last loss',
    width: '80px',
    right: true,
    order: { by: 'loss', descends: false },
    cell: (run) => decimal((run.liveMetrics ?? run.lastStep)?.loss),
  },
  { id: 'teacher', title: 'Teacher', width: '92px', order: { by: 'teacher', descends: true }, cell: (run) => teacherWord(run.teacher) },
  {
    id: 'speed',
    title: 'Tokens/s',
    width: '82px',
    right: true,
    order: { by: 'tokens_per_second', descends: true },
    cell: (run) => (run.tokensPerSecond > 0 ? short(run.tokensPerSecond) : NONE),
  },
  {
    id: 'eta',
    title: 'Time left',
    width: '84px',
    right: true,
    order: { by: 'seconds_left', descends: false },
    cell: (run) => (run.etaSeconds > 0 ? duration(run.etaSeconds) : NONE),
  },
  {
    id: 'launched',
    title: 'Launched',
    width: '96px',
    right: true,
    order: { by: 'launched_at', descends: true },
    cell: (run) => ago(run.launchedAt),
  },
];
/** The columns of figures that few readers want at first. */
const MORE_COLUMNS: Column[] = [
  {
    id: 'parameters_left',
    title: 'Parameters',
    width: '94px',
    right: true,
    order: { by: 'parameters_left', descends: false },
    cell: ({ result }) => (result === undefined ? NONE : short(Number(result.parameterCount))),
  },
  {
    id: 'training_seconds',
    title: 'Time of training',
    width: '122px',
    right: true,
    order: { by: 'training_seconds', descends: true },
    cell: ({ trainingSeconds }) => duration(trainingSeconds),
  },
  {
    id: 'teachers',
    title: 'Teachers',
    width: '88px',
    right: true,
    order: { by: 'teachers', descends: true },
    cell: (run) => run.teacherCount,
  },
  { id: 'phase', title: 'Phase', width: '84px', order: { by: 'phase', descends: false }, cell: (run) => run.phase || NONE },
  { id: 'parent', title: 'Parent', width: '130px', order: { by: 'parent', descends: false }, cell: (run) => parentOf(run) },
  { id: 'restarts', title: 'Restarts', width: '84px', right: true, order: { by: 'restarts', descends: true }, cell: (run) => run.restarts },
  { id: 'rewinds', title: 'Rewinds', width: '84px', right: true, order: { by: 'rewinds', descends: true }, cell: (run) => run.rewinds },
  {
    id: 'launched_by',
    title: 'Launched by',
    width: '110px',
    order: { by: 'launched_by', descends: false },
    cell: (run) => run.launchedByName || run.launchedBy,
  },
  {
    id: 'updated',
    title: 'Last event',
    width: '110px',
    right: true,
    order: { by: 'updated_at', descends: true },
    cell: (run) => ago(run.updatedAt),
  },
];

function parentOf({ parentRunId }: Run): ComponentChildren {
  return parentRunId === '' ? NONE : <Anchor to={`/runs/${parentRunId}`}>{parentRunId}</Anchor>;
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const SETTING_WIDTHS: Readonly<Record<string, string>> = { recipe: '92px', seed: '64px' };

/** A column for each setting, besides the list's own columns. */
const SETTING_COLUMNS: Column[] = SETTING_FIELDS.map(({ name, kind }) => ({
  id: `set.${name}`,
  title: capitalised(name.replaceAll('_', ' ')),
  width: SETTING_WIDTHS[name] ?? '120px',
  right: kind === 'number',
  order: { by: name, descends: false },
  cell: (run) => plainNumber(wordsOf(run.settings)[name] ?? NONE),
}));
export const OWN_COLUMNS: Column[] = [...COLUMNS, ...MORE_COLUMNS, ...SETTING_COLUMNS];

const TASK = 'task.';

/** The column for a task's last value in the last state: "boolq acc". */
function taskColumn(measure: string): Column {
  return {
    id: TASK + measure,
    title: measure,
    width: '110px',
    right: true,
    order: { by: measure, descends: true },
    cell: (run) => decimal(run.evaluations.findLast((one) => isOfLastState(run, one) && measureName(one) === measure)?.value),
  };
}

const isOfLastState = ({ stateDigest }: Run, one: Evaluation): boolean =>
  one.subject === 'masked' && !one.abandoned && one.stateDigest === stateDigest;

/** The columns of the tasks that these runs were evaluated on. */
export function taskColumns(runs: readonly Run[]): Column[] {
  const measures = runs.flatMap((run) => run.evaluations.filter((one) => one.subject === 'masked' && one.task !== 'text').map(measureName));
  return [...new Set(measures)].sort().map(taskColumn);
}

const AT_FIRST = ['name', 'status', 'set.recipe', 'set.seed', 'progress', 'sparsity', 'perplexity', 'curve', 'launched'];
/** A telephone has room for these; the state is a dot beside the name. */
const AT_FIRST_NARROW = ['name', 'perplexity', 'parameters_left'];

/** Returns the columns that a text names, in their order; without a text, the default columns. The name always comes first. */
export function columnsOf(text: string | null, isNarrow = false): Column[] {
  const ids =
    text === null || text === '' ? (isNarrow ? AT_FIRST_NARROW : AT_FIRST) : ['name', ...text.split(',').filter((id) => id !== 'name')];
  return [...new Set(ids)].flatMap((id) => {
    if (id.startsWith(TASK)) return [taskColumn(id.slice(TASK.length))];
    return OWN_COLUMNS.filter((column) => column.id === id);
  });
}

/** Returns the columns that groups of runs show too, as means. The other columns are words, are seeds, or grow with the clock. */
export const figureColumns = (columns: readonly Column[]): Column[] =>
  columns.filter(({ right, order }) => right === true && order !== undefined && order.by !== 'seed' && !order.by.endsWith('_at'));

/** Returns the columns as an address holds them; '' for the default columns. */
export function columnsText(ids: readonly string[]): string {
  const text = ids.join(',');
  return text === AT_FIRST.join(',') ? '' : text;
}

const KEY = 'espalier.columns';
export const storedColumns = (): string => localStorage.getItem(KEY) ?? '';
export const storeColumns = (text: string): void => localStorage.setItem(KEY, text);
