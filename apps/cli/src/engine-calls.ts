// Evaluation and export as plain functions, which the commands and the quickstart use.
import { v1 } from '#protocol';
import { CliError, ExitCode } from './cli-error.js';
import type { Connection } from './connection/connection.js';

export interface OperationProgress {
  (doneShare: number, waitingFor: string): void;
}

/** Returns what the last message of a call brings that has it. */
async function resultOf<Response extends { doneShare: number; waitingFor: string; doing?: string }, Result>(
  responses: AsyncIterable<Response>,
  onProgress: (doneShare: number, waitingFor: string, doing: string) => void,
  resultIn: (response: Response) => Result | undefined,
  what: string,
): Promise<Result> {
  let result: Result | undefined;
  for await (const response of responses) {
    onProgress(response.doneShare, response.waitingFor, response.doing ?? '');
    result = resultIn(response) ?? result;
  }
  if (result === undefined)
    throw new CliError('RESULT_MISSING', `the server ended the ${what} without a result; try again`, { exitCode: ExitCode.failed });
  return result;
}

export function evaluateRun(
  connection: Connection,
  request: Partial<v1.EvaluateRunRequest> & { runId: string },
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<v1.Evaluation> {
  const full = v1.EvaluateRunRequest.fromPartial(request);
  const responses = connection.stream(connection.runs, connection.runs.evaluateRun, full, signal);
  return resultOf(responses, onProgress, ({ evaluation }) => evaluation, 'evaluation');
}

/** Returns all evaluations of a call, once they are done. */
export function evaluateTasks(
  connection: Connection,
  request: Partial<v1.EvaluateTasksRequest> & { runId: string },
  onProgress: (doneShare: number, waitingFor: string, doing: string) => void,
  signal?: AbortSignal,
): Promise<v1.Evaluation[]> {
  const full = v1.EvaluateTasksRequest.fromPartial(request);
  const responses = connection.stream(connection.runs, connection.runs.evaluateTasks, full, signal);
  return resultOf(responses, onProgress, ({ evaluations }) => (evaluations.length > 0 ? evaluations : undefined), 'evaluation');
}

export function exportRun(
  connection: Connection,
  request: Partial<v1.ExportRunRequest>,
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<v1.ModelExport> {
  const full = v1.ExportRunRequest.fromPartial(request);
  const responses = connection.stream(connection.runs, connection.runs.exportRun, full, signal);
  return resultOf(responses, onProgress, (response) => response.export, 'export');
}

export interface ModelMeasured extends v1.SpeedOutcome {
  dense: v1.ModelSpeed;
}
export interface Measured extends ModelMeasured {
  compact: v1.ModelSpeed;
}

export function benchRun(
  connection: Connection,
  request: Partial<v1.BenchRunRequest> & { runId: string },
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<Measured> {
  const measuredIn = ({ outcome }: v1.BenchRunResponse): Measured | undefined =>
    outcome?.dense && outcome.compact && { ...outcome, dense: outcome.dense, compact: outcome.compact };
  return resultOf(benchStream(connection, request, signal), onProgress, measuredIn, 'measurement');
}

/** Measures a model without a run, beside no other. */
export function benchModel(
  connection: Connection,
  request: Partial<v1.BenchRunRequest> & { modelPath: string },
  onProgress: OperationProgress,
  signal?: AbortSignal,
): Promise<ModelMeasured> {
  const measuredIn = ({ outcome }: v1.BenchRunResponse): ModelMeasured | undefined =>
    outcome?.dense && { ...outcome, dense: outcome.dense };
  return resultOf(benchStream(connection, request, signal), onProgress, measuredIn, 'measurement');
}

const benchStream = (
  connection: Connection,
  request: Partial<v1.BenchRunRequest>,
  signal?: AbortSignal,
): AsyncIterable<v1.BenchRunResponse> =>
  connection.stream(connection.runs, connection.runs.benchRun, v1.BenchRunRequest.fromPartial(request), signal);

export function measurePlan(
  connection: Connection,
  plan: v1.PlanRunRequest,
  onProgress: OperationProgress,
  signal?: AbortSignal,
): Promise<v1.MeasuredPlan> {
  const responses = connection.stream(connection.runs, connection.runs.measurePlan, { plan }, signal);
  return resultOf(responses, onProgress, ({ measured }) => measured, 'measurement');
}
