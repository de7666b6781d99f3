import {
  CancelledError,
  DeadlineExceededError,
  MaxAppendSizeExceededError,
  NotLeaderError,
  TimeoutError,
  UnavailableError,
  UnknownError,
  WrongExpectedVersionError,
  isCommandError,
} from '@kurrent/kurrentdb-client';
import { connectionWords } from '#local-access';
import type { ExpectedRevision } from '../event-store.js';
import { EventCorruptError, EventStoreError, EventStoreUnavailableError, WrongExpectedRevisionError } from '../event-store.errors.js';

/** Matches codes of the embedded server for which the protocol has no error class. They arrive inside the error's text. */
const CODE_IN_TEXT = /\b(STORE_[A-Z_]+)(?:: )?/;
const CORRUPT_EVENT = /\bEVENT_CORRUPT: (event (\d+) of stream '(.*)' at position (\d+) does not match.*)/s;

/** Translates the client's errors to the library's own. An append whose outcome is uncertain counts as unavailable. */
export function translateError(error: unknown, appended?: { stream: string; expected: ExpectedRevision }): EventStoreError {
  if (error instanceof EventStoreError) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof WrongExpectedVersionError) {
    const actual = typeof error.actualState === 'bigint' ? error.actualState : 'no_stream';
    return new WrongExpectedRevisionError(appended?.stream ?? error.streamName, appended?.expected ?? 'any', actual, {
      cause: error,
    });
  }
  if (
    error instanceof UnavailableError ||
    error instanceof DeadlineExceededError ||
    error instanceof CancelledError ||
    error instanceof TimeoutError ||
    error instanceof NotLeaderError
  ) {
    return unavailable(error, text);
  }
  if (error instanceof MaxAppendSizeExceededError) {
    const message = `an append or one of its events is too large: at most ${error.maxAppendSize} bytes are allowed`;
    return new EventStoreError('EVENT_STORE_APPEND_TOO_LARGE', message, { cause: error });
  }
  const corrupt = CORRUPT_EVENT.exec(text);
  if (corrupt) {
    const [, message, revision, stream, position] = corrupt as unknown as [string, string, string, string, string];
    const behind = BigInt(position) + 1n;
    return new EventCorruptError(stream, BigInt(revision), { commit: behind, prepare: behind }, message, { cause: error });
  }
  const found = CODE_IN_TEXT.exec(text);
  if (found) return new EventStoreError(found[1]!, text.slice(found.index + found[0].length), { cause: error });
  if (error instanceof Error && isCommandError(error) && !(error instanceof UnknownError))
    return new EventStoreError(codeOfType(error.type), text || error.type, { cause: error });
  // A connection that is lost in the middle of a call (EPIPE, for example) can surface as an error of the transport, or as an error for
  // which the client has no class. The embedded server never answers with such an error.
  return unavailable(error, text);
}

/** The client's native part describes a lost connection only by the name of its error class. */
const WITHOUT_WORDS = /^\w*Error$|^$/;

/** Makes the error of an unreachable store. A text that none of the words fit is told without the transport's code in front. */
function unavailable(error: unknown, text: string): EventStoreUnavailableError {
  const told = text.replace(/^\d+ [A-Z_]+:\s*/, '');
  const says = connectionWords(text) ?? (WITHOUT_WORDS.test(told) ? 'it does not answer, or the connection to it broke' : told);
  return new EventStoreUnavailableError(`the event store is not available: ${says}`, { cause: error });
}

function codeOfType(type: string): string {
  return `EVENT_STORE_${type.toUpperCase().replaceAll('-', '_')}`;
}
