import type { ExpectedRevision, Position } from './event-store.js';

/** The base of all errors of this library. Each has a code that stays the same across releases. */
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

/** The server could not be reached or did not answer. An append may have been stored: retry it with the same event ids. */
export class EventStoreUnavailableError extends EventStoreError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('EVENT_STORE_UNAVAILABLE', message, options);
  }
}

/** An event whose bytes differ from those that were appended. The embedded server detects this when it reads the event. */
export class EventCorruptError extends EventStoreError {
  constructor(
    readonly stream: string,
    /** The revision as the store has it, which may be damaged too. */
    readonly revision: bigint,
    /** The position of the event. A reader that goes on after this position does not meet the event again. */
    readonly position: Position,
    message: string,
    options?: { cause?: unknown },
  ) {
    super('EVENT_CORRUPT', message, options);
  }
}

/** The embedded server did not start, or a maintenance command failed; `code` names the cause (STORE_LOCKED, ...). */
export class EmbeddedStoreError extends EventStoreError {}
