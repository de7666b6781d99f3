import type { ExpectedRevision, Position } from './event-store.js';

/** Every error of this library carries a code that stays the same across releases. */
export class EventStoreError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

export class WrongExpectedRevisionError extends EventStoreError {
  constructor(
    readonly stream: string,
    readonly expected: ExpectedRevision,
    readonly actual: bigint | 'no_stream',
    options?: { cause?: unknown },
  ) {
    super('WRONG_EXPECTED_REVISION', `Stream "${stream}" was expected at revision ${expected} but is at ${actual}`, options);
  }
}

/** The server could not be reached or did not answer. An append may have happened: retry with the same event ids. */
export class EventStoreUnavailableError extends EventStoreError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('EVENT_STORE_UNAVAILABLE', message, options);
  }
}

/** An event whose bytes are not those that were appended; the embedded server finds it when it reads the event. */
export class EventCorruptError extends EventStoreError {
  constructor(
    readonly stream: string,
    /** As the store has it: of a damaged event that may be wrong too. */
    readonly revision: bigint,
    /** Right behind the event: a reader that goes on after it does not meet the event again. */
    readonly position: Position,
    message: string,
    options?: { cause?: unknown },
  ) {
    super('EVENT_CORRUPT', message, options);
  }
}

/** The embedded server did not start or a maintenance command failed; `code` says why (STORE_LOCKED, ...). */
export class EmbeddedStoreError extends EventStoreError {}
