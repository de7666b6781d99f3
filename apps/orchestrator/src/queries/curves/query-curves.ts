// Answers QueryCurves: metrics as curves of a given number of points.
import { setImmediate as breathe } from 'node:timers/promises';
import { counted, invalidField, type v1 } from '#protocol';
import { decodeRows, encodeSteps } from '../../views/projection/metrics-codec.js';
import { progressAt, readSegments } from '../../views/projection/metrics-reader.js';
import { firstStepOf, isActiveStep, type RunSummary } from '../../views/projection/run-detail.js';
import type { RunViews } from '../../views/run-views.js';
import { BIN_STEPS, type CurveBins } from './curve-bins.js';
import { CurvePoints, QUANTITIES } from './curve-points.js';

const DEFAULT_POINTS = 500;
const MOST_POINTS = 5_000;
/** The number of segments in one read. Between two reads the process does its other work. */
const SEGMENTS_PER_TURN = 64;
/** A client that asks for live steps asks again soon. So long it counts as one that watches the run, which is then reported often. */
const WATCHES_FOR_MS = 5_000;

export async function queryCurves(
  views: RunViews,
  bins: CurveBins,
  request: v1.QueryCurvesRequest,
  signal: AbortSignal,
): Promise<v1.QueryCurvesResponse> {
  const maxPoints = request.maxPoints === 0 ? DEFAULT_POINTS : request.maxPoints;
  if (maxPoints > MOST_POINTS) throw invalidField('FIELD_OUT_OF_RANGE', 'max_points', `1 to ${MOST_POINTS} is allowed`);
  const wanted = quantitiesOf(request.quantities);
  if (request.toStep !== undefined && request.toStep < (request.fromStep ?? 0n))
    throw invalidField('FIELD_OUT_OF_RANGE', 'to_step', 'must not lie before from_step');
  const summary = await views.summary(request.runId);
  if (request.live) setTimeout(views.live.watch(summary.run.runId), WATCHES_FOR_MS).unref();
  const { abandonedByRewind: rewind, atRevision } = request;
  if (atRevision !== undefined && (request.live || rewind !== undefined))
    throw invalidField('FIELD_OUT_OF_RANGE', 'at_revision', 'goes neither with live nor with abandoned_by_rewind');
  const query = { request, maxPoints, signal };
  let points: CurvePoints;
  if (rewind !== undefined) points = await abandonedPoints(views, summary, rewind, query);
  else if (atRevision !== undefined && atRevision < BigInt(summary.run.revision))
    points = await pointsAt(views, summary, Number(atRevision), firstStepOf(summary.run), query);
  else points = await ownPoints(views, bins, summary, query);
  const { stepsPerPoint } = points;
  const { steps, seconds, endedAt, totalSteps, values } = points.columns();
  return {
    stepsPerPoint: BigInt(stepsPerPoint),
    steps: steps.map(BigInt),
    seconds,
    endedAt,
    totalSteps: BigInt(totalSteps),
    curves: wanted.map((index) => {
      const { name, unit } = QUANTITIES[index]!;
      const { lowest, mean, highest } = values(index);
      return { quantity: name, unit, mean, ...(stepsPerPoint === 1 ? { lowest: [], highest: [] } : { lowest, highest }) };
    }),
  };
}

interface CurveQuery {
  request: v1.QueryCurvesRequest;
  maxPoints: number;
  signal: AbortSignal;
}

async function ownPoints(
  views: RunViews,
  bins: CurveBins,
  summary: RunSummary,
  { request, maxPoints, signal }: CurveQuery,
): Promise<CurvePoints> {
  const { run, extras } = summary;
  const fromStep = Math.max(Number(request.fromStep ?? 0n), run.origin?.from.step ?? 0);
  const recorded = run.current?.step ?? 0;
  const live = request.live ? views.live.since(run.runId, recorded).filter(({ step }, index) => step === recorded + index) : [];
  const lastStep = Math.max(recorded + live.length - 1, fromStep);
  const toStep = Math.min(Number(request.toStep ?? lastStep), lastStep);
  const stepsPerPoint = widthOf(fromStep, toStep, maxPoints);
  const from = Math.floor(fromStep / stepsPerPoint) * stepsPerPoint;
  const isWanted = (step: number, branch: number): boolean => step >= from && step <= toStep && isActiveStep(extras.rewinds, branch, step);
  let points = new CurvePoints(stepsPerPoint);
  if (stepsPerPoint >= BIN_STEPS) points = (await bins.of(views, summary, signal)).widened(stepsPerPoint, fromStep, toStep);
  else
    for (const segment of readSegments(views.database, run.runId, { fromStep: from, toStep }))
      points.add(run, segment, (step) => isWanted(step, segment.branch));
  if (live.length > 0) {
    const rows = decodeRows(encodeSteps(live));
    points.add(
      run,
      { rows, endStep: NaN, hardSparsity: NaN, parameters: NaN, recordedAtMs: views.now() },
      (step) => step >= from && step <= toStep,
    );
  }
  return points;
}

/** The points of the steps that a rewind abandoned, from the step that it went back to. */
async function abandonedPoints(views: RunViews, summary: RunSummary, rewind: number, query: CurveQuery): Promise<CurvePoints> {
  const { rewinds } = summary.extras;
  const one = rewinds[rewind];
  if (one === undefined)
    throw invalidField('FIELD_OUT_OF_RANGE', 'abandoned_by_rewind', `is ${rewind}, but the run has ${counted(rewinds.length, 'rewind')}`);
  return pointsAt(views, summary, one.revision - 1, one.toStep, query);
}

/** The points of the steps that the record had at a revision. Few clients ask for them, so no bins are kept. */
async function pointsAt(
  { database }: RunViews,
  { run, extras }: RunSummary,
  revision: number,
  firstStep: number,
  { request, maxPoints, signal }: CurveQuery,
): Promise<CurvePoints> {
  const earlier = extras.rewinds.filter((rewind) => rewind.revision <= revision);
  const fromStep = Math.max(Number(request.fromStep ?? 0n), firstStep);
  const end = progressAt(database, run.runId, revision)?.step ?? fromStep;
  const toStep = Math.max(fromStep, Math.min(Number(request.toStep ?? end), end - 1));
  const points = new CurvePoints(widthOf(fromStep, toStep, maxPoints));
  let read = 0;
  for (const segment of readSegments(database, run.runId, { fromStep, toStep })) {
    const { branch } = segment;
    if (segment.revision > revision) break;
    points.add(run, segment, (step) => step >= fromStep && step <= toStep && isActiveStep(earlier, branch, step));
    read += 1;
    if (read % SEGMENTS_PER_TURN !== 0) continue;
    await breathe();
    signal.throwIfAborted();
  }
  return points;
}

/**
 * The smallest number of steps in a point for which there are no more points than allowed. Above the width of a bin it is a whole number of
 * bins.
 */
export function widthOf(fromStep: number, toStep: number, maxPoints: number): number {
  const rounded = (width: number): number => (width < BIN_STEPS ? width : Math.ceil(width / BIN_STEPS) * BIN_STEPS);
  const pointsAt = (width: number): number => Math.floor(toStep / width) - Math.floor(fromStep / width) + 1;
  let width = rounded(Math.max(1, Math.ceil((toStep - fromStep + 1) / maxPoints)));
  // A range that begins within a point may reach into one point more.
  while (pointsAt(width) > maxPoints) width = rounded(width + 1);
  return width;
}

function quantitiesOf(asked: string[]): number[] {
  for (const name of asked) quantityIndex(name, 'quantities');
  return QUANTITIES.flatMap(({ name }, index) => (asked.length === 0 || asked.includes(name) ? [index] : []));
}

/** @throws EspalierError that lists the quantities */
export function quantityIndex(name: string, field: string): number {
  const index = QUANTITIES.findIndex((one) => one.name === name);
  if (index >= 0) return index;
  const allowed = QUANTITIES.map((one) => one.name).join(', ');
  throw invalidField('FIELD_UNKNOWN_VALUE', field, `"${name}" is not a quantity; allowed are ${allowed}`);
}
