// Knows whether the event store holds everything that this server has seen in it. While it does not, no artifact is removed, since the
// missing events may name any artifact.
import type { Logger } from 'pino';
import { missingIn, missingText, type EventStore, type MissingEvents, type SeenEvent, type SeenEvents } from '#event-store';
import { EspalierError } from '#protocol';

export const HOW_TO_MEND =
  'put back the files of the store that had them, or restore a newer backup (espalier restore); to go on without them, stop the ' +
  'server and start it once with: espalier up --accept-store';

export class StoreCondition {
  private found: MissingEvents | null;
  private beforeItWent: SeenEvent | null = null;

  constructor(
    private readonly store: EventStore,
    /** The name that the store's first event gives it. */ readonly storeName: string,
    private readonly seen: Pick<SeenEvents, 'last' | 'note'>,
    missing: MissingEvents | null,
    private readonly log: Pick<Logger, 'error' | 'info'>,
  ) {
    this.found = missing;
    if (missing !== null) this.logMissing(missing);
  }

  get missing(): MissingEvents | null {
    return this.found;
  }

  /** @throws EspalierError EVENTS_MISSING */
  requireWhole(): void {
    if (this.found === null) return;
    throw new EspalierError('EVENTS_MISSING', `nothing is thrown away, since ${missingText(this.found)}: ${HOW_TO_MEND}`);
  }

  /** Remembers the newest event that was seen. While an event is missing, no other is noted, so that the missing one stays remembered. */
  note(event: SeenEvent): void {
    if (this.found === null) this.seen.note(event);
  }

  /** Called when the store stops answering, and when it answers again, since it may have lost events in between. */
  answers(does: boolean): void {
    if (does) this.lookAgain();
    else this.beforeItWent = this.seen.last;
  }

  private lookAgain(): void {
    const { beforeItWent } = this;
    if (this.found !== null || beforeItWent === null) return;
    missingIn(this.store, beforeItWent)
      .then((missing) => {
        this.found = missing;
        if (missing !== null) this.logMissing(missing);
      })
      // this is looked up again when the store next answers
      .catch((error: unknown) => this.log.error({ err: error }, 'whether events are missing could not be found out'));
  }

  private logMissing(missing: MissingEvents): void {
    this.log.error(
      { seenPosition: String(missing.seen.position), endPosition: String(missing.endPosition) },
      `${missingText(missing)}; nothing is thrown away; ${HOW_TO_MEND}`,
    );
  }
}
