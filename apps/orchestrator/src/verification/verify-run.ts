// Answers VerifyRun: reads the whole record of a run from the stores, computes digests and chains again, and with a replay also the
// training. Findings are reported as they are made.
import { HistoryChecker, lineageProblems, MetricsChecker, type Problem } from '#audit';
import { decodeExportManifest, type ArtifactStore } from '#artifact-store';
import { EventCorruptError, readPastDamage, type EventStore, type StoredEvent } from '#event-store';
import { counted, invalidField, v1 } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { findDiscard } from '../pruning-run/aggregate/discarding.js';
import { neededArtifacts, stepOf, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { decodeStored, metricsStream, runStream } from '../pruning-run/record/stored-event.js';
import { replaysMessage } from '../views/run-message.js';
import { ancestorsOf } from '../queries/lineage.js';
import { replayChecks } from './replay-checks.js';
import { RunsMeanwhile } from './runs-meanwhile.js';
import { ReplayPlanner } from './replay/replay-plan.js';
import type { MakeVerdict, VerifyContext } from './verify-context.js';

export async function* verifyRun(
  context: VerifyContext,
  request: v1.VerifyRunRequest,
  by: CallContext,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const { views } = context;
  checkReplayFields(request);
  const runId = await views.runId(request.runId);
  const steps = views.peek(runId)?.run.current?.step;
  requireRecorded(request, runId, steps);
  const summary: v1.VerifySummary = v1.VerifySummary.fromPartial({ ok: true });
  const say = (check: string, subject: string, ok: boolean, detail: string, doneShare: number): v1.VerifyRunResponse => {
    if (!ok) {
      summary.ok = false;
      summary.problems.push(`${check}: ${subject}: ${detail}`);
    }
    return { check, subject, ok, detail, doneShare, summary: undefined, notChecked: false };
  };
  const eventsShare = request.replay ? 0.1 : 0.5;
  const record: CheckedRecord = { planner: new ReplayPlanner(), history: new HistoryChecker(runId), events: 0, metricsBatches: 0 };
  yield* recordVerdicts(context, runId, record, say, eventsShare, signal);
  summary.events += BigInt(record.events + record.metricsBatches);
  summary.metricsBatches += BigInt(record.metricsBatches);
  const artifactsShare = request.replay ? 0.1 : 0.5;
  for await (const verdict of artifactVerdicts(context, runId, record, say, eventsShare, artifactsShare, signal)) {
    summary.artifacts += 1n;
    yield verdict;
  }
  const { planner } = record;
  summary.replays = replaysMessage(planner.run?.replays ?? []);
  summary.steps = BigInt(ownSteps(planner.run));
  if (request.replay) yield* replayChecks(context, planner, request, summary, say, by, signal);
  yield {
    check: 'summary',
    subject: `run ${runId}`,
    ok: summary.ok,
    detail: summary.ok ? 'everything is as recorded' : counted(summary.problems.length, 'problem'),
    doneShare: 1,
    summary,
    notChecked: false,
  };
}

const ownSteps = (run: PruningRunState | null): number => (run === null ? 0 : stepOf(run) - (run.origin?.from.step ?? 0));

/** The record of a run as the verification read it. */
export interface CheckedRecord {
  planner: ReplayPlanner;
  history: HistoryChecker;
  /** The number of the run's own events that could be read. */
  events: number;
  /** The number of batches that could be read. */
  metricsBatches: number;
}

/** Yields verdicts on the events of a run and its ancestors, and on its metrics. */
export async function* recordVerdicts(
  { views, store }: Pick<VerifyContext, 'views' | 'store'>,
  runId: string,
  record: CheckedRecord,
  say: MakeVerdict,
  share: number,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const line = [runId, ...ancestorsOf(views, runId)];
  const histories = new Map<string, HistoryChecker>();
  const known = views.peek(runId)?.run.revision ?? -1; // read first, since the run may go on meanwhile
  for (const [index, owner] of line.entries()) {
    const history = await readHistory(store, owner, index === 0 ? record.planner : null, signal);
    histories.set(owner, history);
    if (index === 0) {
      record.history = history;
      history.endsBefore(known);
    }
    yield* historyVerdicts(owner, history, say, share / 2);
  }
  const forks = `${counted(line.length - 1, 'fork')} back to the launch`;
  const unreadForks = [...histories]
    .slice(1)
    .flatMap(([owner, { unread }]) => unread.map((revision) => `event ${revision} of run ${owner}`));
  yield* problemVerdicts('lineage', `run ${runId}`, lineageProblems(line, histories), forks, say, share / 2, unreadForks);
  const metrics = await checkMetrics(store, runId, record.history, signal);
  record.events = record.history.read;
  record.metricsBatches = metrics.read;
  const unnamed = metrics.unnamed > 0 ? `; ${metrics.unnamed} of given-up attempts, which nothing vouches for` : '';
  const batches = `${counted(metrics.events, 'batch', 'batches')} as recorded${unnamed}`;
  const unreadBatches = metrics.unread.map((revision) => `batch ${revision}`);
  yield* problemVerdicts('metrics', `metrics of run ${runId}`, metrics.problems, batches, say, share, unreadBatches);
}

function checkReplayFields({ replay, tolerance, fromStep, toStep }: v1.VerifyRunRequest): void {
  const given = { tolerance, from_step: fromStep, to_step: toStep };
  for (const [field, value] of Object.entries(given)) {
    if (value !== undefined && !replay) throw invalidField('REQUEST_INVALID', field, 'is for a replay: ask for one too');
  }
  if (tolerance !== undefined && !(tolerance >= 0 && tolerance <= 1)) {
    throw invalidField('FIELD_OUT_OF_RANGE', 'tolerance', `a relative difference from 0 to 1 is allowed, is ${tolerance}`);
  }
  for (const [field, step] of [
    ['from_step', fromStep],
    ['to_step', toStep],
  ] as const) {
    if (step !== undefined && step < 0n) throw invalidField('FIELD_OUT_OF_RANGE', field, `a step from 0 on is allowed, is ${step}`);
  }
}

/** Refuses steps outside the record. "At step n" means after n steps, so a range may end with the number of steps itself. */
function requireRecorded({ fromStep, toStep }: v1.VerifyRunRequest, runId: string, steps: number | undefined): void {
  if (steps === undefined) return;
  const refuse = (field: string, most: number, step: bigint) =>
    invalidField('FIELD_OUT_OF_RANGE', field, `0 to ${most} is allowed, is ${step}: run ${runId} has ${counted(steps, 'recorded step')}`);
  if (fromStep !== undefined && fromStep >= steps) throw refuse('from_step', steps - 1, fromStep);
  if (toStep !== undefined && toStep > steps) throw refuse('to_step', steps, toStep);
}

async function readHistory(store: EventStore, runId: string, planner: ReplayPlanner | null, signal: AbortSignal): Promise<HistoryChecker> {
  const checker = new HistoryChecker(runId);
  for await (const stored of wholeEvents(store, runStream(runId), checker)) {
    signal.throwIfAborted();
    const problems = checker.problems.length;
    checker.push(stored);
    // An event with a problem is reported and is not part of the replay.
    if (checker.problems.length === problems) planner?.push(decodeStored(stored), Number(stored.revision));
  }
  return checker;
}

/** Yields the events of a stream. It tells the checker of those that the store finds damaged, and leaves them out. */
async function* wholeEvents(store: EventStore, stream: string, checker: HistoryChecker | MetricsChecker): AsyncGenerator<StoredEvent> {
  for await (const item of readPastDamage(store, stream)) {
    if (item instanceof EventCorruptError) checker.unreadable(item.revision, item.message);
    else yield item;
  }
}

const HISTORY_CHECKS = ['store', 'contiguity', 'schema', 'chain', 'steps', 'lineage'] as const;

function* historyVerdicts(runId: string, history: HistoryChecker, say: MakeVerdict, share: number): Iterable<v1.VerifyRunResponse> {
  const unknown = [...history.unknownTypes].map(([type, count]) => `${count} ${type}`).join(', ');
  const good: Record<(typeof HISTORY_CHECKS)[number], string> = {
    store: 'every event as the store took it',
    contiguity: `${counted(history.events, 'event')}, none missing`,
    schema:
      unknown === '' ? 'every event has the fields of its type' : `every known event has the fields of its type; not known: ${unknown}`,
    chain: `ends in ${history.chain}`,
    steps: `${counted(history.step, 'step')}, each segment where the one before ended`,
    lineage: 'the events belong to this run',
  };
  const unread = history.unread.map((revision) => `event ${revision}`);
  for (const check of HISTORY_CHECKS) {
    yield* problemVerdicts(
      check,
      `run ${runId}`,
      history.problems.filter((problem) => problem.check === check),
      good[check],
      say,
      share,
      check === 'store' ? [] : unread,
    );
  }
}

/** @param unread the events that the check needs and that could not be read, in words: without them nothing is called good */
function* problemVerdicts(
  check: string,
  subject: string,
  problems: Problem[],
  good: string,
  say: MakeVerdict,
  share: number,
  unread: string[] = [],
): Iterable<v1.VerifyRunResponse> {
  if (unread.length > 0 && !problems.some((problem) => problem.check === check)) yield notChecked(check, subject, unread, share);
  else if (problems.length === 0) yield say(check, subject, true, good, share);
  for (const problem of problems) yield say(problem.check, problem.subject, false, problem.detail, share);
}

/** The event that could not be read counts as a problem already, so this verdict does not. */
function notChecked(check: string, subject: string, unread: string[], doneShare: number): v1.VerifyRunResponse {
  const more = unread.length > 1 ? ` and ${unread.length - 1} more` : '';
  const detail = `not checked: ${unread[0]}${more} can't be read`;
  return { check, subject, ok: false, detail, doneShare, summary: undefined, notChecked: true };
}

async function checkMetrics(store: EventStore, runId: string, history: HistoryChecker, signal: AbortSignal): Promise<MetricsChecker> {
  const checker = new MetricsChecker(runId, history);
  for await (const stored of wholeEvents(store, metricsStream(runId), checker)) {
    signal.throwIfAborted();
    checker.push(stored);
  }
  checker.finish();
  return checker;
}

/** Every artifact that the record names, with a word for its kind. */
export function artifactsNamed({ history, planner }: Pick<CheckedRecord, 'history' | 'planner'>): Map<string, string> {
  const names = new Map<string, string>();
  const speed = planner.run?.budget?.speed;
  if (speed !== undefined) names.set(speed.tableDigest, 'speed table');
  for (const digest of history.states.keys()) names.set(digest, 'state');
  for (const digest of history.dataDigests) names.set(digest, 'tokens');
  for (const { digest, files } of history.exports) {
    names.set(digest, 'export');
    for (const file of files) names.set(file.digest, `export file ${file.name}`);
  }
  return names;
}

/**
 * The reason why a missing artifact may be missing, in words for the verdict. '' stands for a state between teachers, which is removed
 * without a record. Null means that the artifact must exist.
 */
export function excuseOf(run: PruningRunState | null, digest: string, what: string): string | null {
  if (run === null) return what === 'state' ? '' : null;
  if (neededArtifacts(run).has(digest)) return null;
  const discard = findDiscard(run, (one) => one.digest === digest);
  if (discard !== null) return `thrown away, as revision ${discard.revision} says`;
  if (run.status === 'deleted') return 'gone, since the run was deleted';
  return what === 'state' ? '' : null;
}

export function runsMeanwhile(store: EventStore, signal: AbortSignal): RunsMeanwhile {
  return new RunsMeanwhile(store, async (runId) => {
    const planner = new ReplayPlanner();
    await readHistory(store, runId, planner, signal);
    return planner.run;
  });
}

/** Yields verdicts on every artifact that the run names. Those that it needs must exist. */
async function* artifactVerdicts(
  { artifacts, store }: Pick<VerifyContext, 'artifacts' | 'store'>,
  runId: string,
  { history, planner }: CheckedRecord,
  say: MakeVerdict,
  from: number,
  share: number,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const names = artifactsNamed({ history, planner });
  const meanwhile = runsMeanwhile(store, signal);
  let done = 0;
  for (const [digest, what] of names) {
    signal.throwIfAborted();
    done += 1;
    const at = from + (share * done) / names.size;
    const subject = `artifact ${digest}`;
    const condition = await artifacts.verify(digest);
    const excuse =
      condition === 'missing' ? (excuseOf(planner.run, digest, what) ?? excuseOf(await meanwhile.now(runId), digest, what)) : null;
    if (excuse !== null) {
      if (excuse !== '') yield say('artifacts', subject, true, `${what}: ${excuse}`, at);
    } else if (condition !== 'ok') {
      yield say(
        'artifacts',
        subject,
        false,
        `${what}: ${condition === 'missing' ? 'not in the store' : 'its bytes have another digest'}`,
        at,
      );
    } else if (what === 'export' && !(await manifestFits(artifacts, digest, history))) {
      yield say('artifacts', subject, false, 'its manifest names other files than the event', at);
    } else {
      yield say('artifacts', subject, true, `${what}: whole`, at);
    }
  }
}

export async function manifestFits(artifacts: ArtifactStore, digest: string, history: HistoryChecker): Promise<boolean> {
  const list = (files: { name: string; digest: string }[]): string =>
    files
      .map((file) => `${file.name} ${file.digest}`)
      .sort()
      .join('\n');
  const recorded = history.exports.find((one) => one.digest === digest)?.files ?? [];
  try {
    return list(decodeExportManifest(await artifacts.get(digest))) === list(recorded);
  } catch {
    return false;
  }
}
