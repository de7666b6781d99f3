// The replay of VerifyRun: chooses the segments and the states that they start from, and turns the results into verdicts.
import { randomInt } from 'node:crypto';
import { invalidField, EspalierError, type v1 } from '#protocol';
import { artifactDiscarded, findDiscard } from '../pruning-run/aggregate/discarding.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { RecordReplay } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { segmentsAfter, stepsOf } from '../views/projection/metrics-reader.js';
import { replaysMessage } from '../views/run-message.js';
import type { ReplayPlanner, ReplaySegment } from './replay/replay-plan.js';
import { replaySegments, type SegmentVerdict } from './replay/replay.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { MakeVerdict, VerifyContext } from './verify-context.js';
import { tokenShards } from '../pruning-run/record/training-tokens.js';

const DONE_BEFORE = 0.2;

export async function* replayChecks(
  context: VerifyContext,
  planner: ReplayPlanner,
  request: v1.VerifyRunRequest,
  summary: v1.VerifySummary,
  say: MakeVerdict,
  by: CallContext,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const run = planner.run;
  const segments = run === null ? [] : await chosenSegments(context, planner, run, request);
  if (run === null || segments.length === 0) {
    yield say('replay', `run ${request.runId}`, true, 'no recorded steps to execute again', 1);
    return;
  }
  const verdicts = replaySegments({
    borrowEngines: context.borrowEngines,
    artifacts: context.artifacts,
    model: run.model,
    budget: run.budget,
    data: run.data,
    segments,
    tolerance: request.tolerance ?? null,
    signal,
    recordedSteps: ({ revision }) => segmentsAfter(context.views.database, run.runId, revision - 1, 1).flatMap(({ rows }) => stepsOf(rows)),
  });
  let done = 0;
  const seen: SegmentVerdict[] = [];
  for await (const verdict of verdicts) {
    done += 1;
    note(summary, verdict);
    seen.push(verdict);
    const { firstStep, endStep } = verdict.segment;
    yield say(
      'replay',
      `steps ${firstStep} to ${endStep - 1}`,
      verdict.ok,
      verdict.detail,
      DONE_BEFORE + ((1 - DONE_BEFORE) * done) / segments.length,
    );
  }
  for (const verdicts of byEngine(seen)) {
    const fact = replayFact(verdicts, run.branch, request.tolerance ?? null);
    try {
      const { run: after } = await context.runs.change(run.runId, fact, { by });
      summary.replays = replaysMessage(after.replays);
      await context.views.summary(run.runId, { atRevision: after.revision });
    } catch (error) {
      if (!(error instanceof EspalierError)) throw error;
      summary.notRecorded = error.message; // such as RUN_DAMAGED: the verdicts hold all the same
    }
  }
}

type Verdicts = [SegmentVerdict, ...SegmentVerdict[]];

/** Groups neighbours that one engine computed on the same numerics. */
function byEngine(verdicts: readonly SegmentVerdict[]): Verdicts[] {
  const groups: Verdicts[] = [];
  for (const verdict of verdicts) {
    const group = groups.at(-1);
    const isSame = group?.[0].engine === verdict.engine && group[0].numericsFingerprint === verdict.numericsFingerprint;
    if (isSame) group.push(verdict);
    else groups.push([verdict]);
  }
  return groups;
}

function replayFact(verdicts: Verdicts, branch: number, tolerance: number | null): RecordReplay {
  const { engine, segment, numericsFingerprint } = verdicts[0];
  return {
    kind: 'recordReplay',
    branch,
    cause: 'verification',
    engineName: engine.name,
    isOtherEngine: engine.isOther,
    device: engine.device,
    numericsFingerprint,
    tolerance: numericsFingerprint === segment.numericsFingerprint ? null : tolerance,
    stretches: verdicts.map(({ segment: { firstStep, endStep, endDigest }, ok }) => ({
      firstStep,
      endStep,
      stateDigest: endDigest,
      agrees: ok,
    })),
  };
}

function note(
  summary: v1.VerifySummary,
  { segment, ok, stepDifference, tensorDifferences, numericsFingerprint, engine }: SegmentVerdict,
): void {
  summary.replayedSteps += BigInt(segment.endStep - segment.firstStep);
  summary.numericsFingerprint = numericsFingerprint;
  const { name, isOther } = engine;
  if (!summary.replayEngines.some((one) => one.name === name && one.other === isOther))
    summary.replayEngines.push({ name, other: isOther });
  for (const { maxAbs, maxRel } of tensorDifferences) {
    summary.maxAbsDifference = Math.max(summary.maxAbsDifference, maxAbs);
    summary.maxRelDifference = Math.max(summary.maxRelDifference, maxRel);
  }
  if (ok || summary.firstDivergentStep !== undefined) return;
  summary.firstDivergentStep = BigInt(stepDifference?.step ?? segment.endStep - 1);
  summary.firstDivergentTensor = tensorDifferences[0]?.name ?? '';
}

/** The segments of the asked steps, from the nearest state before them that is still stored. */
async function chosenSegments(
  { artifacts, views }: VerifyContext,
  planner: ReplayPlanner,
  run: PruningRunState,
  request: v1.VerifyRunRequest,
): Promise<ReplaySegment[]> {
  const from = Number(request.fromStep ?? 0n);
  const to = request.toStep === undefined ? Number.MAX_SAFE_INTEGER : Number(request.toStep);
  if (to < from) throw invalidField('FIELD_OUT_OF_RANGE', 'to_step', 'must not lie before from_step');
  const wanted = planner.segmentsBetween(from, to);
  if (request.sample > 0) return sampled({ artifacts, views }, run, wanted, request.sample);
  const first = wanted[0];
  if (first === undefined) return [];
  const start = planner.segments.indexOf(first);
  for (const [before, { startDigest }] of planner.segments
    .slice(0, start + 1)
    .toReversed()
    .entries()) {
    if (startDigest !== null && (await artifacts.stat(startDigest)) === null) continue;
    const segments = planner.segments.slice(start - before, start + wanted.length);
    await requireParts({ artifacts, views }, run, segments);
    return segments;
  }
  const lost = `no state at or before step ${first.firstStep} is left in the artifact store to start from`;
  throw goneError(views, run, first.startDigest ?? '', lost);
}

/** Chooses segments at random, so that the engine which computed them can't know which ones are computed again. */
async function sampled(
  context: Pick<VerifyContext, 'artifacts' | 'views'>,
  run: PruningRunState,
  segments: readonly ReplaySegment[],
  count: number,
): Promise<ReplaySegment[]> {
  const left = [...segments];
  const chosen: ReplaySegment[] = [];
  while (chosen.length < count && left.length > 0) {
    for (const segment of left.splice(randomInt(left.length), 1))
      if (segment.startDigest === null || (await context.artifacts.stat(segment.startDigest)) !== null) chosen.push(segment);
  }
  await requireParts(context, run, chosen);
  return chosen.sort((left, right) => left.firstStep - right.firstStep);
}

/** Refuses a replay for which tokens or teachers were removed, before anything is computed. */
async function requireParts(
  { artifacts, views }: Pick<VerifyContext, 'artifacts' | 'views'>,
  run: PruningRunState,
  segments: ReplaySegment[],
): Promise<void> {
  const parts = new Map(tokenShards(run.data).map(({ digest }) => [digest, 'the tokens of the run are']));
  for (const { stretches } of segments) {
    for (const { teacher, firstStep } of stretches) {
      if (teacher.kind === 'snapshot')
        parts.set(teacher.stateDigest, `teacher ${teacher.mark}, which instructed from step ${firstStep} on, is`);
    }
  }
  for (const [digest, what] of parts) {
    if ((await artifacts.stat(digest)) === null) throw goneError(views, run, digest, `${what} not in the artifact store`);
  }
}

function goneError(views: VerifyContext['views'], run: PruningRunState, digest: string, otherwise: string): EspalierError {
  const own = findDiscard(run, (one) => one.digest === digest);
  if (own !== null) return artifactDiscarded(run, own);
  const others = views.discardOf(digest);
  return others === null ? new EspalierError('ARTIFACT_MISSING', otherwise) : artifactDiscarded(others, others);
}
