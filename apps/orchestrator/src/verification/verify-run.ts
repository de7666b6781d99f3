// VerifyRun: reads the whole record of a run from the stores, recomputes what vouches for it, and with replay executes it
// again. What is found is reported as it is found.
import { HistoryChecker, lineageProblems, MetricsChecker, type Problem } from '#audit';
import { decodeExportManifest, type ArtifactStore } from '#artifact-store';
import { EventCorruptError, readPastDamage, type EventStore, type StoredEvent } from '#event-store';
import { invalidField, v1 } from '#protocol';
import { neededArtifacts } from '../pruning-run/pruning-run.js';
import { decodeStored, metricsStream, runStream } from '../pruning-run/stored-event.js';
import { ancestorsOf } from '../run-views/lineage.js';
import { replayChecks } from './replay-checks.js';
import { ReplayPlanner } from './replay-plan.js';
import type { Say, VerifyContext } from './verify-context.js';

export async function* verifyRun(
  context: VerifyContext,
  request: v1.VerifyRunRequest,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const { views, store } = context;
  checkReplayFields(request);
  const runId = await views.runId(request.runId);
  const steps = views.peek(runId)?.run.current?.step;
  if (request.fromStep !== undefined && steps !== undefined && request.fromStep >= steps) {
    throw invalidField(
      'FIELD_OUT_OF_RANGE',
      'from_step',
      `0 to ${steps - 1} is allowed, is ${request.fromStep}: run ${runId} has ${steps} recorded steps`,
    );
  }
  const summary: v1.VerifySummary = v1.VerifySummary.fromPartial({ ok: true });
  const say = (check: string, subject: string, ok: boolean, detail: string, doneShare: number): v1.VerifyRunResponse => {
    if (!ok) {
      summary.ok = false;
      summary.problems.push(`${check}: ${subject}: ${detail}`);
    }
    return { check, subject, ok, detail, doneShare, summary: undefined };
  };
  const eventsShare = request.replay ? 0.1 : 0.5;

  const line = [runId, ...ancestorsOf(views, runId)];
  const histories = new Map<string, HistoryChecker>();
  const known = views.peek(runId)?.run.revision ?? -1;
  const planner = new ReplayPlanner();
  for (const [index, owner] of line.entries()) {
    const history = await readHistory(store, owner, index === 0 ? planner : null, signal);
    histories.set(owner, history);
    if (index === 0) history.endsBefore(known);
    if (index === 0) summary.events += BigInt(history.events);
    yield* historyVerdicts(owner, history, say, eventsShare / 2);
  }
  yield* problemVerdicts(
    'lineage',
    `run ${runId}`,
    lineageProblems(line, histories),
    `${line.length - 1} forks back to the launch`,
    say,
    eventsShare / 2,
  );
  const metrics = await checkMetrics(store, runId, histories.get(runId)!, signal);
  summary.events += BigInt(metrics.events);
  yield* problemVerdicts(
    'metrics',
    `metrics of run ${runId}`,
    metrics.problems,
    `${metrics.events} batches as recorded${metrics.unnamed > 0 ? `; ${metrics.unnamed} of given-up attempts, which nothing vouches for` : ''}`,
    say,
    eventsShare,
  );

  const artifactsShare = request.replay ? 0.1 : 0.5;
  for await (const verdict of artifactVerdicts(
    context.artifacts,
    histories.get(runId)!,
    planner,
    say,
    eventsShare,
    artifactsShare,
    signal,
  )) {
    summary.artifacts += 1n;
    yield verdict;
  }
  if (request.replay) yield* replayChecks(context, planner, request, summary, say, signal);
  yield {
    check: 'summary',
    subject: `run ${runId}`,
    ok: summary.ok,
    detail: summary.ok ? 'everything is as recorded' : summary.problems.length === 1 ? '1 problem' : `${summary.problems.length} problems`,
    doneShare: 1,
    summary,
  };
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

async function readHistory(store: EventStore, runId: string, planner: ReplayPlanner | null, signal: AbortSignal): Promise<HistoryChecker> {
  const checker = new HistoryChecker(runId);
  for await (const stored of wholeEvents(store, runStream(runId), checker)) {
    signal.throwIfAborted();
    const problems = checker.problems.length;
    checker.push(stored);
    // An event with a problem is reported, and takes no part in what follows.
    if (checker.problems.length === problems) planner?.push(decodeStored(stored), Number(stored.revision));
  }
  return checker;
}

/** All but those that the store finds damaged, which the checker is told. */
async function* wholeEvents(store: EventStore, stream: string, checker: HistoryChecker | MetricsChecker): AsyncGenerator<StoredEvent> {
  for await (const item of readPastDamage(store, stream)) {
    if (item instanceof EventCorruptError) checker.unreadable(item.revision, item.message);
    else yield item;
  }
}

const HISTORY_CHECKS = ['store', 'contiguity', 'schema', 'chain', 'steps', 'lineage'] as const;

function* historyVerdicts(runId: string, history: HistoryChecker, say: Say, share: number): Iterable<v1.VerifyRunResponse> {
  const unknown = [...history.unknownTypes].map(([type, count]) => `${count} ${type}`).join(', ');
  const good: Record<(typeof HISTORY_CHECKS)[number], string> = {
    store: 'every event as the store took it',
    contiguity: `${history.events} events, none missing`,
    schema:
      unknown === '' ? 'every event has the fields of its type' : `every known event has the fields of its type; not known: ${unknown}`,
    chain: `ends in ${history.chain}`,
    steps: `${history.step} steps, each segment where the one before ended`,
    lineage: 'the events belong to this run',
  };
  for (const check of HISTORY_CHECKS) {
    yield* problemVerdicts(
      check,
      `run ${runId}`,
      history.problems.filter((problem) => problem.check === check),
      good[check],
      say,
      share,
    );
  }
}

function* problemVerdicts(
  check: string,
  subject: string,
  problems: Problem[],
  good: string,
  say: Say,
  share: number,
): Iterable<v1.VerifyRunResponse> {
  if (problems.length === 0) yield say(check, subject, true, good, share);
  for (const problem of problems) yield say(problem.check, problem.subject, false, problem.detail, share);
}

async function checkMetrics(store: EventStore, runId: string, history: HistoryChecker, signal: AbortSignal): Promise<MetricsChecker> {
  const checker = new MetricsChecker(runId, history.batches);
  for await (const stored of wholeEvents(store, metricsStream(runId), checker)) {
    signal.throwIfAborted();
    checker.push(stored);
  }
  checker.finish();
  return checker;
}

/** Every artifact that the run names. States between teachers may have been cleared away; the others must be there. */
async function* artifactVerdicts(
  artifacts: ArtifactStore,
  history: HistoryChecker,
  planner: ReplayPlanner,
  say: Say,
  from: number,
  share: number,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const needed = planner.run === null ? new Set<string>() : neededArtifacts(planner.run);
  const names = new Map<string, string>();
  for (const digest of history.states.keys()) names.set(digest, 'state');
  for (const digest of history.dataDigests) names.set(digest, 'tokens');
  for (const { digest, files } of history.exports) {
    names.set(digest, 'export');
    for (const file of files) names.set(file.digest, `export file ${file.name}`);
  }
  let done = 0;
  for (const [digest, what] of names) {
    signal.throwIfAborted();
    done += 1;
    const at = from + (share * done) / names.size;
    const subject = `artifact ${digest}`;
    const condition = await artifacts.verify(digest);
    if (condition === 'missing' && what === 'state' && !needed.has(digest)) continue;
    if (condition !== 'ok') {
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

async function manifestFits(artifacts: ArtifactStore, digest: string, history: HistoryChecker): Promise<boolean> {
  const list = (files: { name: string; digest: string }[]): string =>
    files
      .map((file) => `${file.name} ${file.digest}`)
      .sort()
      .join('\n');
  const recorded = history.exports.find((one) => one.digest === digest)!;
  try {
    return list(decodeExportManifest(await artifacts.get(digest))) === list(recorded.files);
  } catch {
    return false;
  }
}
