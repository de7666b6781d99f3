// An error of the command line, with the exit code for scripts.
import { status } from '@grpc/grpc-js';
import { CommanderError } from 'commander';
import { EspalierError, statusOf, toEspalierError, type FieldViolation } from '#protocol';

export const ExitCode = {
  ok: 0,
  /** The operation was tried and failed, a check found a problem, or a limit, memory or a disk is used up. */
  failed: 1,
  /** The command line, or a value in it, is not valid. */
  usage: 2,
  /** The named run, teacher, file or digest does not exist. */
  notFound: 3,
  /** The server, or a part that it needs, does not answer or was lost, or does not let the caller in. */
  unavailable: 4,
  /** The operation is not possible in the present state (a finished run can't be paused, a request id is taken, ...). */
  notAllowed: 5,
  /** A run completed, but more than one point away from its target sparsity. */
  targetMissed: 6,
  /** The command was stopped by Ctrl-C, or by SIGTERM: 128 plus the signal's number, as in shells. */
  interrupted: 130,
  terminated: 143,
} as const;

export const EXIT_CODES_HELP = `Exit codes:
  0  done
  1  the operation failed, a check found a problem, a limit, memory or a disk
     is used up, or a run ended as failed (also while it was prepared, by bad
     data, say) or cancelled
  2  the command line or a value in it is not valid
  3  the run, teacher, file or digest that it names is not there
  4  no server answers, or its engine, event store or bucket does not, or the
     caller is not let in, or server or data folder are another user's
  5  not possible in the present state (finished run, request id taken, ...)
  6  the watched run completed more than one point away from its target sparsity
  130, 143  stopped by Ctrl-C, or by SIGTERM`;

export interface CliErrorDetails {
  field?: string;
  exitCode?: number;
  /** The next thing to do, printed on a line of its own. */
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

/** Makes the error of a wrong value on the command line. `allowed` ends in "... is allowed" or "... are allowed". */
export function invalidOption(option: string, given: string, allowed: string): CliError {
  return new CliError('OPTION_INVALID', `${JSON.stringify(given)} is not valid for ${option}; ${allowed}`, {
    field: option,
    exitCode: ExitCode.usage,
  });
}

/** The exit codes of errors in the store's files. These errors come from no server, so they have no gRPC status. */
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
  // An error of a server without details has the name of its gRPC status as its code.
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
