import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import {
  AccessDenied,
  DeadlineExceeded,
  EventCorrupt,
  EventTooLarge,
  InvalidArgument,
  MaximumAppendSizeExceeded,
  RepeatDiffers,
  Unauthenticated,
  Unimplemented,
  WrongExpectedVersion,
  type Expected,
} from './store/refusals.js';
import { toStoreError, type StoreErrorCode } from './store/store-error.js';

export type StatusReply = Error & Pick<ServiceError, 'code' | 'details' | 'metadata'>;

/** The number that the protocol uses for an expected version. */
function expectedToNumber(expected: Expected): number {
  if (expected === 'any') return -2;
  if (expected === 'no_stream') return -1;
  if (expected === 'stream_exists') return -4;
  return expected;
}

/** Translates an error of the store to a gRPC status. The client chooses its error class by the trailer "exception". */
export function toStatus(error: unknown): StatusReply {
  if (isStatus(error)) return error;
  if (error instanceof WrongExpectedVersion) {
    return reply(status.FAILED_PRECONDITION, error.message, 'wrong-expected-version', {
      'stream-name': error.stream,
      'expected-version': String(expectedToNumber(error.expected)),
      ...(error.actual >= 0 ? { 'actual-version': String(error.actual) } : {}),
    });
  }
  if (error instanceof AccessDenied) return reply(status.PERMISSION_DENIED, error.message, 'access-denied');
  if (error instanceof Unauthenticated) return reply(status.UNAUTHENTICATED, error.message);
  if (error instanceof MaximumAppendSizeExceeded || error instanceof EventTooLarge) {
    return reply(status.INVALID_ARGUMENT, error.message, 'maximum-append-size-exceeded', {
      'maximum-append-size': String(error.maxBytes),
    });
  }
  if (error instanceof RepeatDiffers) return reply(DEFECT, error.message);
  if (error instanceof InvalidArgument) return reply(status.INVALID_ARGUMENT, error.message);
  if (error instanceof Unimplemented) return reply(status.UNIMPLEMENTED, error.message);
  if (error instanceof DeadlineExceeded) return reply(status.DEADLINE_EXCEEDED, error.message);
  if (error instanceof EventCorrupt) return reply(DEFECT, error.message, 'event-corrupt');
  const failure = toStoreError(error);
  return reply(CODE_OF_FAILURE[failure.code] ?? DEFECT, `${failure.code}: ${failure.message}`);
}

/**
 * The status of an error that stays. Clients take UNKNOWN, INTERNAL and DATA_LOSS for a lost connection and try again, which would not
 * help.
 */
const DEFECT = status.FAILED_PRECONDITION;

const CODE_OF_FAILURE: Partial<Record<StoreErrorCode, status>> = {
  STORE_STOPPING: status.UNAVAILABLE,
  STORE_DISK_FULL: status.RESOURCE_EXHAUSTED,
};

export function reply(code: status, message: string, exception?: string, trailers: Record<string, string> = {}): StatusReply {
  const metadata = new Metadata();
  if (exception) metadata.set('exception', exception);
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, asciiOf(value));
  return Object.assign(new Error(message), { code, details: message, metadata });
}

/** Trailers are ASCII, so other text is percent-encoded. */
function asciiOf(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text);
}

function isStatus(error: unknown): error is StatusReply {
  const candidate = error as Partial<StatusReply>;
  return typeof candidate?.code === 'number' && candidate.metadata instanceof Metadata;
}
