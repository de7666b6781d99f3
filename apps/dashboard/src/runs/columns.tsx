// The columns of the list of runs.
import type { ComponentChildren } from 'preact';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { ago, count, decimal, duration, NONE, percent, short, teacherWord } from '../ui/format.js';
import { Meter, Sparkline, Status } from '../ui/parts.js';
import { Anchor } from '../ui/router.js';
import { SETTING_FIELDS, wordsOf } from '../forms/setting-table.js';

export interface Column {
  id: string;
  title: string;
  /** As a grid has it. */
  width: string;
  right?: boolean;
  /** As ListRuns orders by it, and whether the high end comes first. */
  order?: { by: string; descends: boolean };
  cell: (run: Run, losses: number[]) => ComponentChildren;
}

export const headlineOf = (run: Run) => run.evaluations.find(({ headline }) => headline);
export const stepOf = (run: Run): bigint => (run.liveStep > run.step ? run.liveStep : run.step);
export const endOf = (run: Run): bigint => run.phases.at(-1)?.endStep ?? BigInt(run.settings?.totalSteps ?? 0);
export const nameOf = (run: { name: string; runId: string }): string => run.name || run.runId;

const COLUMNS: Column[] = [
  {
    id: 'name',
    title: 'Name',
    width: 'minmax(200px, 2fr)',
    order: { by: 'name', descends: false },
    cell: (run) => (
      <>
        <Anchor to={`/runs/${run.runId}`}>{nameOf(run)}</Anchor>
        {run.tags.slice(0, 3).map((tag) => (
          <span class="tag" key={tag}>
            {tag}
          </span>
        ))}
      </>
    ),
  },
  { id: 'id', title: 'Id', width: '130px', cell: (run) => <code>{run.runId}</code> },
  { id: 'model', title: 'Model', width: '180px', cell: (run) => run.modelPath.replace(/^.*\/(?=.)/, '') },
  { id: 'status', title: 'Status', width: '106px', cell: (run) => <Status run={run} /> },
  {
    id: 'progress',
    title: 'Progress',
    width: 'minmax(72px, 1fr)',
    cell: (run) => <Meter share={endOf(run) > 0n ? Number(stepOf(run)) / Number(endOf(run)) : 0} label="steps done" />,
  },
  { id: 'step', title: 'Step', width: '76px', right: true, cell: (run) => count(stepOf(run)) },
  {
    id: 'sparsity',
    title: 'Sparsity',
    width: '116px',
    right: true,
    order: { by: 'sparsity', descends: true },
    cell: (run) => (
      <>
        {percent(run.hardSparsity)} <span class="soft">of {percent(run.settings?.targetSparsity ?? 0, 0)}</span>
      </>
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
  { id: 'curve', title: 'Loss', width: '96px', cell: (run, losses) => <Sparkline values={losses} label={`loss of ${nameOf(run)}`} /> },
  { id: 'loss', title: 'Last loss', width: '80px', right: true, cell: (run) => decimal((run.liveMetrics ?? run.lastStep)?.loss) },
  { id: 'teacher', title: 'Teacher', width: '92px', cell: (run) => teacherWord(run.teacher) },
  {
    id: 'speed',
    title: 'Tokens/s',
    width: '70px',
    right: true,
    cell: (run) => (run.tokensPerSecond > 0 ? short(run.tokensPerSecond) : NONE),
  },
  { id: 'eta', title: 'Left', width: '70px', right: true, cell: (run) => (run.etaSeconds > 0 ? duration(run.etaSeconds) : NONE) },
  {
    id: 'launched',
    title: 'Launched',
    width: '96px',
    right: true,
    order: { by: 'launched_at', descends: true },
    cell: (run) => ago(run.launchedAt),
  },
];
/** A column for each setting, beside those of the list's own. */
const SETTING_COLUMNS: Column[] = SETTING_FIELDS.map(({ name }) => ({
  id: `set.${name}`,
  title: name.replaceAll('_', ' '),
  width: '120px',
  right: true,
  cell: (run) => wordsOf(run.settings)[name] ?? NONE,
}));
export const ALL_COLUMNS: Column[] = [...COLUMNS, ...SETTING_COLUMNS];

const AT_FIRST = ['name', 'status', 'progress', 'step', 'sparsity', 'perplexity', 'curve', 'speed', 'launched'];
const KEY = 'espalier.columns';

export function storedColumns(): string[] {
  const stored = localStorage.getItem(KEY)?.split(',');
  return stored === undefined
    ? AT_FIRST
    : ['name', ...ALL_COLUMNS.map(({ id }) => id).filter((id) => id !== 'name' && stored.includes(id))];
}

export function storeColumns(ids: string[]): void {
  localStorage.setItem(KEY, ids.join(','));
}
