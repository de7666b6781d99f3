// Evaluation and export as plain functions, which the commands and the quickstart use.
import { v1 } from '#protocol';
import { CliError, ExitCode } from './cli-error.js';
import type { Connection } from './connection/connection.js';

export interface OperationProgress {
  (doneShare: number, waitingFor: string): void;
}

export async function evaluateRun(
  connection: Connection,
  request: Partial<v1.EvaluateRunRequest> & { runId: string },
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<v1.Evaluation> {
  let evaluation: v1.Evaluation | undefined;
  const full = v1.EvaluateRunRequest.fromPartial(request);
  for await (const response of connection.stream(connection.runs, connection.runs.evaluateRun, full, signal)) {
    onProgress(response.doneShare, response.waitingFor);
    evaluation = response.evaluation ?? evaluation;
  }
  if (evaluation === undefined) throw withoutResult('evaluation');
  return evaluation;
}

/** Returns all evaluations of a call, once they are done. */
export async function evaluateTasks(
  connection: Connection,
  request: Partial<v1.EvaluateTasksRequest> & { runId: string },
  onProgress: (doneShare: number, waitingFor: string, doing: string) => void,
  signal?: AbortSignal,
): Promise<v1.Evaluation[]> {
  let evaluations: v1.Evaluation[] = [];
  const full = v1.EvaluateTasksRequest.fromPartial(request);
  for await (const response of connection.stream(connection.runs, connection.runs.evaluateTasks, full, signal)) {
    onProgress(response.doneShare, response.waitingFor, response.doing);
    if (response.evaluations.length > 0) evaluations = response.evaluations;
  }
  if (evaluations.length === 0) throw withoutResult('evaluation');
  return evaluations;
}

export async function exportRun(
  connection: Connection,
  request: Partial<v1.ExportRunRequest> & { runId: string },
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<v1.ModelExport> {
  let exported: v1.ModelExport | undefined;
  const full = v1.ExportRunRequest.fromPartial(request);
  for await (const response of connection.stream(connection.runs, connection.runs.exportRun, full, signal)) {
    onProgress(response.doneShare, response.waitingFor);
    exported = response.export ?? exported;
  }
  if (exported === undefined) throw withoutResult('export');
  return exported;
}

export interface Measured extends v1.SpeedOutcome {
  dense: v1.ModelSpeed;
  compact: v1.ModelSpeed;
}

export async function benchRun(
  connection: Connection,
  request: Partial<v1.BenchRunRequest> & { runId: string },
  onProgress: OperationProgress = () => undefined,
  signal?: AbortSignal,
): Promise<Measured> {
  let outcome: v1.SpeedOutcome | undefined;
  const full = v1.BenchRunRequest.fromPartial(request);
  for await (const response of connection.stream(connection.runs, connection.runs.benchRun, full, signal)) {
    onProgress(response.doneShare, response.waitingFor);
    outcome = response.outcome ?? outcome;
  }
  if (outcome?.dense === undefined || outcome.compact === undefined) throw withoutResult('measurement');
  return { ...outcome, dense: outcome.dense, compact: outcome.compact };
}

function withoutResult(what: string): CliError {
  return new CliError('RESULT_MISSING', `the server ended the ${what} without a result; try again`, { exitCode: ExitCode.failed });
}
