// Trainings that outlive the connection on which their messages go out (docs/design/joined-engines.md). While the client is cut off, the
// training ends its segment, and keeps its messages as long as the client's lease is good.
import type { Logger } from 'pino';
import { EspalierError, type engineV1 } from '#protocol';

const LOOK_MS = 200;

type Messages = AsyncGenerator<engineV1.TrainResponse>;

interface Collaborators {
  /** Tells the training to end with its segment. */
  finishSegment: () => void;
  /** Milliseconds for which the client may still come back; 0: no more. */
  leaseLeftMs: () => number;
  log: Pick<Logger, 'info' | 'warn'>;
}

/** One training: its messages, from the first that its client has not confirmed. */
class KeptTraining {
  private readonly messages: engineV1.TrainResponse[] = [];
  private first = 0;
  private pulling: Promise<void> | null = null;
  private isOver = false;
  /** Whether the last message of the training has been sent. A client that did not get it may ask for it again. */
  isHandedOut = false;
  private error: Error | null = null;
  /** The call that reads now. */
  reader: AbortSignal | null = null;

  constructor(
    readonly id: string,
    private readonly source: Messages,
    readonly stop: AbortController,
  ) {}

  get waiting(): number {
    return this.messages.length;
  }

  taken(count: number): void {
    const gone = Math.min(count - this.first, this.messages.length);
    if (gone <= 0) return;
    this.messages.splice(0, gone);
    this.first += gone;
  }

  /** Several readers may overlap: a call that was cut off ends late. So only this place asks the source, and keeps its messages. */
  async *from(count: number): Messages {
    this.taken(count);
    for (let at = count; ; at += 1) {
      while (at - this.first >= this.messages.length) {
        if (this.error !== null) throw this.error;
        if (this.isOver) return;
        await this.pull();
      }
      const message = this.messages[at - this.first]!;
      this.isHandedOut = message.end !== undefined;
      yield message;
    }
  }

  private pull(): Promise<void> {
    this.pulling ??= this.source
      .next()
      .then(
        ({ done, value }) => {
          if (done === true) this.isOver = true;
          else this.messages.push(value);
        },
        (error: unknown) => {
          this.error = error instanceof Error ? error : new Error(String(error));
        },
      )
      .finally(() => {
        this.pulling = null;
      });
    return this.pulling;
  }
}

export class KeptTrainings {
  private current: KeptTraining | null = null;
  private watch: NodeJS.Timeout | undefined;
  /** The id of the last training that was discarded, so that a client which comes back for it gets an error and no new training. */
  private discarded = '';

  constructor(private readonly collaborators: Collaborators) {}

  /**
   * Begins the training, or goes on with the messages of one that is kept.
   * @param begin starts the training and returns its messages; the signal ends it at its next step
   */
  async *messages(
    { trainingId, messagesTaken }: Pick<engineV1.TrainRequest, 'trainingId' | 'messagesTaken'>,
    call: AbortSignal,
    begin: (stop: AbortSignal) => Messages,
  ): Messages {
    const count = Number(messagesTaken);
    let kept = this.current;
    if (kept?.id === trainingId) {
      this.collaborators.log.info({ training: trainingId, messages: kept.waiting }, 'the client is back, and gets what was kept for it');
    } else {
      if (count > 0 || this.discarded === trainingId)
        throw new EspalierError(
          'TRAINING_NOT_KEPT',
          'the messages that this training had kept were discarded: the run goes on from its last recorded state',
        );
      this.discard('another training begins');
      const stop = new AbortController();
      kept = new KeptTraining(trainingId, begin(stop.signal), stop);
      this.current = kept;
    }
    clearInterval(this.watch);
    kept.reader = call;
    const cutOff = (): void => this.cutOff(kept, call);
    call.addEventListener('abort', cutOff, { once: true });
    if (call.aborted) cutOff();
    yield* kept.from(count);
  }

  /** The client has these messages. */
  taken(trainingId: string, count: number): void {
    if (this.current?.id === trainingId) this.current.taken(count);
  }

  /** Stops a training that no client reads. A client that reads it gets its end instead. */
  stopUnread(): void {
    if (this.current?.reader === null) this.discard('the client stopped it');
  }

  /** Forgets the training, because the session was replaced or belongs to another client now. */
  discard(why: string): void {
    const kept = this.current;
    clearInterval(this.watch);
    if (kept === null) return;
    this.current = null;
    this.discarded = kept.id;
    kept.stop.abort();
    if (kept.reader === null && !kept.isHandedOut)
      this.collaborators.log.warn({ training: kept.id, why }, 'a training that waited for its client is ended');
  }

  private cutOff(kept: KeptTraining, call: AbortSignal): void {
    if (this.current !== kept || kept.reader !== call) return; // another call of it has come meanwhile
    kept.reader = null;
    if (!kept.isHandedOut) {
      const leftMs = this.collaborators.leaseLeftMs();
      this.collaborators.log.info({ training: kept.id, leftMs }, 'the client was cut off: the segment is ended and kept for it');
      this.collaborators.finishSegment();
    }
    this.watch = setInterval(() => {
      if (this.collaborators.leaseLeftMs() === 0) this.discard('the client did not come back within its lease');
    }, LOOK_MS);
    this.watch.unref();
  }
}
