// An error in the terms of the command line, with the exit code for scripts.
import { status } from '@grpc/grpc-js';
import { CommanderError } from 'commander';
import { EspalierError, statusOf, toEspalierError, type FieldViolation } from '#protocol';

export const ExitCode = {
  ok: 0,
  /** The operation was tried and failed, or a check found a problem. */
  failed: 1,
  /** The command line or a value in it is not valid. */
  usage: 2,
  /** The run, teacher, file or digest it names is not there. */
  notFound: 3,
  /** No server answers, or the server belongs to another user. */
  unavailable: 4,
  /** Not possible in the present state (a finished run can't be paused, a request id is taken, ...). */
  notAllowed: 5,
  /** A run completed, but more than one point away from its target sparsity. */
  targetMissed: 6,
  /** Stopped by Ctrl-C, or by SIGTERM: 128 and the signal's number, as shells say it. */
  interrupted: 130,
  terminated: 143,
} as const;

export const EXIT_CODES_HELP = `Exit codes:
  0  done
  1  the operation failed, a check found a problem, or a run ended as failed
     (also while it was prepared, by bad data, say) or cancelled
  2  the command line or a value in it is not valid
  3  the run, teacher, file or digest that it names is not there
  4  no server answers, or server or data folder are another user's
  5  not possible in the present state (finished run, request id taken, ...)
  6  the watched run completed more than one point away from its target sparsity
  130, 143  stopped by Ctrl-C, or by SIGTERM`;

export interface CliErrorDetails {
  field?: string;
  exitCode?: number;
  /** The next thing to do, on a line of its own. */
  hint?: string;
  cause?: unknown;
}

export class CliError extends EspalierError {
  readonly exitCode: number | undefined;
  readonly hint: string | undefined;

  constructor(code: string, message: string, details: CliErrorDetails = {}) {
    const violations: FieldViolation[] = details.field === undefined ? [] : [{ field: details.field, description: message, code }];
    super(code, message, { violations, cause: details.cause });
    this.exitCode = details.exitCode;
    this.hint = details.hint;
  }
}

/** A value on the command line that can't be right; `allowed` completes "... is allowed" or "... are allowed". */
export function invalidOption(option: string, given: string, allowed: string): CliError {
  return new CliError('OPTION_INVALID', `${JSON.stringify(given)} is not valid for ${option}; ${allowed}`, {
    field: option,
    exitCode: ExitCode.usage,
  });
}

/** Codes of errors in the store's files. They come from no server, so they have no gRPC status. */
const STORE_EXIT_CODES: Record<string, number> = {
  STORE_NOT_FOUND: ExitCode.notFound,
  STORE_EXISTS: ExitCode.notAllowed,
  STORE_LOCKED: ExitCode.notAllowed,
  BACKUP_FILE_EXISTS: ExitCode.notAllowed,
  BACKUP_FILE_FOREIGN: ExitCode.notAllowed,
};

/** The command was told to stop. */
export class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signal}`);
  }

  get exitCode(): number {
    return this.signal === 'SIGINT' ? ExitCode.interrupted : ExitCode.terminated;
  }
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  if (error instanceof CliError && error.exitCode !== undefined) return error.exitCode;
  const known = toEspalierError(error);
  const ofStore = STORE_EXIT_CODES[known.code];
  if (ofStore !== undefined) return ofStore;
  // Codes of a gRPC status alone (a server without details) are their own name.
  const grpcStatus = status[known.code as keyof typeof status] ?? statusOf(known.code);
  switch (grpcStatus) {
    case status.OK:
      return ExitCode.ok;
    case status.INVALID_ARGUMENT:
    case status.OUT_OF_RANGE:
      return ExitCode.usage;
    case status.NOT_FOUND:
      return ExitCode.notFound;
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return ExitCode.unavailable;
    case status.FAILED_PRECONDITION:
    case status.ALREADY_EXISTS:
    case status.ABORTED:
      return ExitCode.notAllowed;
    default:
      return ExitCode.failed;
  }
}
