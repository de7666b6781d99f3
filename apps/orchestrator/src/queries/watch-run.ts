// Answers WatchRun: the run as it is now, then at each change, with the steps since the last message. Nothing is queued for a client. When
// a message has left, the next one is read from the views as they are then. So a slow client costs no memory and misses no step; it only
// gets fewer and larger messages.
import type { v1 } from '#protocol';
import { EspalierError } from '#protocol';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import { isFinished } from '../pruning-run/aggregate/pruning-run.js';
import { stepsOf, progressAt, segmentsAfter } from '../views/projection/metrics-reader.js';
import { firstStepOf, isDamaged, type RunSummary } from '../views/projection/run-detail.js';
import { stepMessage } from '../views/run-message.js';
import { leaseUntilMs } from '../views/run-status.js';
import type { RunViews } from '../views/run-views.js';

const SEGMENTS_PER_MESSAGE = 8;
const LIVE_STEPS_PER_MESSAGE = 512;
/** The longest delay after a missed wake-up. */
const LONGEST_WAIT_MS = 15_000;
/** The least time between two messages that hold only live steps. */
const LIVE_PAUSE_MS = 200;

interface Cursor {
  /** The revision of the last segment whose steps were sent. */
  segmentRevision: number;
  branch: number;
  /** The first step that was not sent. */
  nextStep: number;
  /** The revision in the last message. */
  revision: number;
  status: v1.RunStatus | null;
  /** The code of the cause in the last message, or '' where the run did not wait. */
  waitedFor: string;
  /** The preparation in the last message with its progress, and what the run waited for if it was queued. */
  standing: string;
}

export async function* watchRun(views: RunViews, request: v1.WatchRunRequest, signal: AbortSignal): AsyncGenerator<v1.WatchRunResponse> {
  const runId = await views.runId(request.runId);
  const leave = views.live.watch(runId);
  try {
    yield* watched(views, runId, request, signal);
  } finally {
    leave();
  }
}

async function* watched(
  views: RunViews,
  runId: string,
  request: v1.WatchRunRequest,
  signal: AbortSignal,
): AsyncGenerator<v1.WatchRunResponse> {
  const cursor = await startCursor(views, runId, request.afterRevision);
  let lastLiveMs = 0;
  while (!signal.aborted) {
    const wake = new AbortController();
    const change = views.changes.next(runId, waitMs(views, runId), AbortSignal.any([signal, wake.signal]));
    const message = nextMessage(views, runId, cursor);
    const liveOnly = message !== null && message.live && message.revision === BigInt(cursor.revision);
    if (message !== null && !(liveOnly && Date.now() - lastLiveMs < LIVE_PAUSE_MS)) {
      wake.abort();
      advance(cursor, message);
      if (message.live) lastLiveMs = Date.now();
      yield message;
      continue;
    }
    if (message === null && !request.follow && hasEnded(views, runId)) {
      wake.abort();
      return;
    }
    if (liveOnly) {
      wake.abort();
      await pause(LIVE_PAUSE_MS, signal);
    } else {
      await change;
    }
  }
}

async function startCursor(views: RunViews, runId: string, afterRevision: bigint | undefined): Promise<Cursor> {
  const now = views.summaryOf(runId);
  if (afterRevision === undefined) {
    // A watch that begins now gets the run as it is, and the steps that follow.
    return {
      segmentRevision: now.run.revision,
      branch: now.extras.rewinds.length,
      nextStep: now.run.current?.step ?? 0,
      revision: -1,
      status: null,
      waitedFor: '',
      standing: '',
    };
  }
  const revision = Number(afterRevision);
  if (revision > now.run.revision)
    await views.reach(runId, revision).catch(() => {
      throw unknownRevision(runId, revision);
    });
  const { extras, run } = views.summaryOf(runId);
  const progress = progressAt(views.database, runId, revision);
  const rewind = extras.rewinds.findLast((one) => one.revision <= revision && one.revision > (progress?.revision ?? -1));
  return {
    segmentRevision: revision,
    branch: extras.rewinds.filter((one) => one.revision <= revision).length,
    nextStep: rewind?.toStep ?? progress?.step ?? firstStepOf(run),
    revision,
    status: null,
    waitedFor: '',
    standing: '',
  };
}

function unknownRevision(runId: string, revision: number): EspalierError {
  return new EspalierError('REVISION_NOT_FOUND', `run ${runId} has no revision ${revision}`, {
    violations: [
      { field: 'after_revision', description: 'a revision that an earlier message named is allowed', code: 'REVISION_NOT_FOUND' },
    ],
  });
}

/**
 * Returns the next message, or null where there is nothing new. Recorded steps come in the order in which they were recorded, each once,
 * and live steps come after them.
 */
function nextMessage(views: RunViews, runId: string, cursor: Cursor): v1.WatchRunResponse | null {
  const summary = views.peek(runId);
  if (summary === null) return null;
  const run = views.message(summary);
  const { steps, revision } = recordedSteps(views, runId, cursor, summary.run.revision);
  const upToDate = revision === summary.run.revision;
  const live = upToDate ? liveSteps(views, summary, cursor, steps.at(-1)) : [];
  const changed =
    revision > cursor.revision ||
    (cursor.status !== null &&
      (cursor.status !== run.status || cursor.waitedFor !== (run.waitingFor?.code ?? '') || cursor.standing !== standingText(run)));
  if (!changed && steps.length === 0 && live.length === 0) return null;
  const { settings } = summary.run;
  return { run, steps: [...steps, ...live].map((step) => stepMessage(step, settings)), revision: BigInt(revision), live: live.length > 0 };
}

/** Reads the next segments and moves the cursor over them. */
function recordedSteps(views: RunViews, runId: string, cursor: Cursor, newest: number): { steps: StepMeasurement[]; revision: number } {
  const segments = segmentsAfter(views.database, runId, cursor.segmentRevision, SEGMENTS_PER_MESSAGE);
  const steps: StepMeasurement[] = [];
  for (const segment of segments) {
    if (segment.branch !== cursor.branch) {
      cursor.branch = segment.branch;
      cursor.nextStep = segment.firstStep;
    }
    for (const one of stepsOf(segment.rows)) if (one.step >= cursor.nextStep) steps.push(one);
    cursor.nextStep = Math.max(cursor.nextStep, segment.endStep);
    cursor.segmentRevision = segment.revision;
  }
  // If more segments follow, the message's revision covers only those that it holds.
  return { steps, revision: segments.length === SEGMENTS_PER_MESSAGE ? Math.max(cursor.segmentRevision, cursor.revision) : newest };
}

function liveSteps(views: RunViews, { run, extras }: RunSummary, cursor: Cursor, last: StepMeasurement | undefined): StepMeasurement[] {
  if (extras.rewinds.length !== cursor.branch) {
    cursor.branch = extras.rewinds.length;
    cursor.nextStep = run.current?.step ?? 0;
  }
  const from = Math.max(cursor.nextStep, last === undefined ? 0 : last.step + 1);
  const steps = views.live.since(run.runId, from);
  // If steps are missing before the live ones, they are recorded already and the views are about to show them.
  return steps[0]?.step === from ? steps.slice(0, LIVE_STEPS_PER_MESSAGE) : [];
}

function advance(cursor: Cursor, message: v1.WatchRunResponse): void {
  cursor.revision = Number(message.revision);
  if (message.run !== undefined) {
    cursor.status = message.run.status;
    cursor.waitedFor = message.run.waitingFor?.code ?? '';
    cursor.standing = standingText(message.run);
  }
  const last = message.steps.at(-1);
  if (last !== undefined) cursor.nextStep = Math.max(cursor.nextStep, Number(last.step) + 1);
}

function standingText({ preparation, queuedFor }: v1.Run): string {
  return preparation === undefined ? queuedFor : `${preparation.doneShare} ${preparation.doing}`;
}

function hasEnded(views: RunViews, runId: string): boolean {
  const summary = views.peek(runId);
  return summary === null || isFinished(summary.run) || isDamaged(summary.extras);
}

/** The time of the next look if nothing happens. The lease may run out then. */
function waitMs(views: RunViews, runId: string): number {
  const summary = views.peek(runId);
  const lease = summary === null ? null : leaseUntilMs(summary.run, views.live.heardAt(runId));
  if (lease === null) return LONGEST_WAIT_MS;
  const left = lease - views.now() + 20;
  return left > 0 ? Math.min(LONGEST_WAIT_MS, left) : LONGEST_WAIT_MS;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
