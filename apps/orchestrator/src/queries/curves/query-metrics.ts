import { invalidField, type v1 } from '#protocol';
import { runNotFound } from '../../pruning-run/aggregate/pruning-run.errors.js';
import { downsample } from './downsample.js';
import { rowCount, stepAt } from '../../views/projection/metrics-codec.js';
import { readRows } from '../../views/projection/metrics-reader.js';
import { stepMessage } from '../../views/run-message.js';
import type { RunViews } from '../../views/run-views.js';

const DEFAULT_POINTS = 500;
const FEWEST_POINTS = 2;
const MOST_POINTS = 10_000;

export async function queryMetrics(views: RunViews, request: v1.QueryMetricsRequest): Promise<v1.QueryMetricsResponse> {
  const maxPoints = request.maxPoints === 0 ? DEFAULT_POINTS : request.maxPoints;
  if (maxPoints < FEWEST_POINTS || maxPoints > MOST_POINTS) {
    throw invalidField('FIELD_OUT_OF_RANGE', 'max_points', `${FEWEST_POINTS} to ${MOST_POINTS} is allowed`);
  }
  const { fromStep, toStep } = { fromStep: optionalNumber(request.fromStep), toStep: optionalNumber(request.toStep) };
  if (fromStep !== undefined && toStep !== undefined && toStep < fromStep) {
    throw invalidField('FIELD_OUT_OF_RANGE', 'to_step', 'must not lie before from_step');
  }
  const runId = await views.runId(request.runId);
  const summary = views.peek(runId);
  if (summary === null) throw runNotFound(runId);
  const rows = readRows(views.database, runId, summary.extras.rewinds, { fromStep, toStep, includeAbandoned: request.includeAbandoned });
  const total = rowCount(rows);
  const { settings } = summary.run;
  return {
    steps: downsample(rows, maxPoints).map((index) => stepMessage(stepAt(rows, index), settings)),
    totalSteps: BigInt(total),
    downsampled: total > maxPoints,
  };
}

function optionalNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
