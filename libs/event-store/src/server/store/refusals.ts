/**
 * Answers of the store that are not faults: nothing was written, and the client is told why. They hold what the protocol's trailers need;
 * `grpc-errors.ts` makes the trailers.
 */
export type Expected = number | 'any' | 'no_stream' | 'stream_exists';

export class Refusal extends Error {}

export class WrongExpectedVersion extends Refusal {
  constructor(
    readonly stream: string,
    readonly expected: Expected,
    /** The stream's last revision; -1 if the stream does not exist. */
    readonly actual: number,
  ) {
    super(`Append failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${expected}, Actual version: ${actual}`);
  }
}

/** An append has the ids of stored events, but other bytes. */
export class RepeatDiffers extends Refusal {
  constructor(
    readonly stream: string,
    readonly revision: number,
    readonly eventId: string,
  ) {
    super(`STORE_REPEAT_DIFFERS: event ${eventId} is stored with other bytes, as event ${revision} of stream '${stream}'`);
  }
}

export class AccessDenied extends Refusal {
  constructor() {
    super('Access Denied');
  }
}

export class Unauthenticated extends Refusal {
  constructor() {
    super('Unauthenticated');
  }
}

export class MaximumAppendSizeExceeded extends Refusal {
  constructor(readonly maxBytes: number) {
    super(`Maximum Append Size of ${maxBytes} Exceeded.`);
  }
}

export class EventTooLarge extends Refusal {
  constructor(
    readonly stream: string,
    readonly eventId: string,
    readonly sizeBytes: number,
    readonly maxBytes: number,
  ) {
    super(`The size of event ${eventId} (${sizeBytes} bytes) exceeds the maximum of ${maxBytes} bytes`);
  }
}

/** The client's deadline had passed before the append was begun. */
export class DeadlineExceeded extends Refusal {
  constructor() {
    super('The deadline of the append had passed; nothing was written');
  }
}

export class InvalidArgument extends Refusal {}

/** The request needs a part of the protocol that only a KurrentDB has. */
export class Unimplemented extends Refusal {
  constructor(what: string) {
    super(`the embedded event store does not have ${what}; a KurrentDB does`);
  }
}

export interface EventPlace {
  stream: string;
  revision: number;
  position: number;
}

/** A stored event whose bytes no longer match its checksum. A reader that wants the other events goes on after its place. */
export class EventCorrupt extends Refusal {
  readonly problem: string;

  constructor(readonly place: EventPlace) {
    const { stream, revision, position } = place;
    const problem = `event ${revision} of stream '${stream}' at position ${position} does not match its checksum`;
    super(`EVENT_CORRUPT: ${problem}; restore a backup`);
    this.problem = problem;
  }
}
