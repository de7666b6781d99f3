// The figures by which runs are found and grouped: any setting, some figures of runs, and the last state's values in tasks.
import { invalidField, findSetting } from '#protocol';
import { headlineOf } from '../pruning-run/aggregate/headline.js';
import type { RecordedEvaluation } from '../pruning-run/aggregate/pruning-run.js';
import { endStepOf } from '../pruning-run/method/phases.js';
import { shareGone, sizeOf } from '../pruning-run/planning/result-size.js';
import type { TeacherChoice } from '../pruning-run/record/pruning-run.events.js';
import { measureName } from '../pruning-run/record/measures.js';
import { startIsLost, type RunSummary } from './projection/run-detail.js';
import { speedOf } from './run-message.js';

/** Null where the run has no such value. */
export type FigureValue = number | string | null;

export interface Figure {
  name: string;
  kind: 'number' | 'text';
  of(summary: RunSummary): FigureValue;
}

type Read = (summary: RunSummary) => FigureValue;

const NUMBERS = new Map(
  Object.entries<Read>({
    perplexity: ({ run }) => headlineOf(run)?.value ?? null,
    sparsity: ({ run }) => shareGone(run),
    expected_sparsity: ({ run }) => run.current?.expectedSparsity ?? null,
    step: ({ run }) => run.current?.step ?? 0,
    steps: ({ run }) => endStepOf(run.settings),
    teachers: ({ teacherCount }) => teacherCount,
    parameters: ({ run }) => run.model.parameterCount,
    training_seconds: ({ run }) => run.trainingSeconds,
    restarts: ({ run }) => run.restarts,
    rewinds: ({ extras }) => extras.rewinds.length,
    skipped_steps: ({ run }) => run.skippedSteps,
    parameters_left: ({ run }) => sizeOf(run)?.parameterCount ?? null,
    loss: ({ extras }) => extras.lastStep?.loss ?? null,
    tokens_per_second: (summary) => speedOf(summary, []).tokensPerSecond || null,
    seconds_left: (summary) => speedOf(summary, []).etaSeconds || null,
    share_done: ({ run }) => (run.current?.step ?? 0) / endStepOf(run.settings),
    teacher: ({ run: { assignment } }) => (assignment === null ? null : markOf(assignment.teacher)),
  }),
);
const TEXTS = new Map(
  Object.entries<Read>({
    name: ({ run }) => run.name,
    model: ({ run }) => run.model.path,
    launched_by: ({ run }) => run.launchedBy ?? null,
    phase: ({ run }) => run.phase,
    parent: ({ run }) => run.origin?.parentRunId ?? null,
    measure: ({ run }) => measureOfPerplexity(headlineOf(run)),
  }),
);

/** The text and the convention by which a perplexity was measured: only equal ones compare. */
export const measureOfPerplexity = (headline: RecordedEvaluation | null): string | null =>
  headline === null ? null : `${headline.convention} ${headline.dataDigest}`;

/** Returns the mark of the teacher, or 0 for the intact model. */
function markOf(teacher: TeacherChoice): number | null {
  if (teacher.kind === 'snapshot') return teacher.mark;
  return teacher.kind === 'intact' ? 0 : null;
}

/** @throws EspalierError that lists the figures */
export function figureNamed(name: string, field: string): Figure {
  const setting = settingFigure(name);
  if (setting !== null) return setting;
  const [number, text] = [NUMBERS.get(name), TEXTS.get(name)];
  if (number !== undefined) return { name, kind: 'number', of: number };
  if (text !== undefined) return { name, kind: 'text', of: text };
  if (/^\S+ \S+$/.test(name)) return { name, kind: 'number', of: (summary) => measureOf(summary, name) };
  const figures = [...NUMBERS.keys(), ...TEXTS.keys()].join(', ');
  throw invalidField(
    'FIELD_UNKNOWN_VALUE',
    field,
    `there is no figure ${JSON.stringify(name)}; allowed are ${figures}, the settings (target_sparsity, recipe, ...), and a task with ` +
      'its metric ("boolq acc")',
  );
}

function settingFigure(name: string): Figure | null {
  const setting = findSetting(name);
  if (setting === undefined) return null;
  const of: Read = ({ run, extras }) => {
    const value = startIsLost(extras) ? undefined : run.settings[setting.name];
    if (value === undefined) return null;
    return typeof value === 'number' ? value : Array.isArray(value) ? value.join(',') : String(value);
  };
  return { name, kind: setting.kind === 'number' || setting.kind === 'whole' ? 'number' : 'text', of };
}

/** The last value of the masked model in the last recorded state. */
function measureOf({ run }: RunSummary, name: string): number | null {
  const stateDigest = run.current?.stateDigest ?? null;
  const found = run.evaluations.findLast(
    (one) => one.subject === 'masked' && !one.abandoned && one.stateDigest === stateDigest && measureName(one) === name,
  );
  return found?.value ?? null;
}
