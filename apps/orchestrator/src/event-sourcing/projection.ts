// Stored events to rows. A batch is applied in one transaction together with the position, so the file always shows the
// state after some whole number of events, whatever kills the process.
import type { Statement } from 'better-sqlite3';
import { EventCorruptError, type Position, type StoredEvent } from '#event-store';
import type { ViewsDatabase } from './views-file.js';
import { rowsOf } from './views-tables.js';

/** An event, or the error in the place of an unreadable one. */
export type RecordItem = StoredEvent | EventCorruptError;

/** A kind of aggregate says which streams it reads, and writes the rows. */
export abstract class Projection {
  /** The events of these streams are projected. */
  abstract readonly streamPrefixes: readonly string[];
  private readonly savePosition: Statement;
  private readonly saveLast: Statement;

  constructor(protected readonly database: ViewsDatabase) {
    const rows = rowsOf('projection');
    this.savePosition = database.prepare(`UPDATE ${rows} SET position_commit = ?, position_prepare = ?, events = events + ?`);
    this.saveLast = database.prepare(`UPDATE ${rows} SET last_stream = ?, last_revision = ?, last_event_id = ?`);
  }

  /** One item of a batch. An event that is delivered twice must leave the same rows. */
  protected abstract take(item: RecordItem): void;

  /** Writes what the batch's items were folded to; returns the ids of the aggregates that changed. */
  protected abstract save(): Set<string>;

  /** The batch was not stored, so the state that was folded in memory is too new. */
  protected abstract forget(): void;

  /** Whether what follows the event in its stream is projected already. */
  abstract hasPassed(event: EventCorruptError): boolean;

  /** Whether the event's own commit has more to come, which belongs into the same transaction. */
  hasMoreToCome(_event: StoredEvent): boolean {
    return false;
  }

  /** Applies all items or none; returns the ids of the aggregates that changed. */
  apply(items: readonly RecordItem[], position: Position | null): Set<string> {
    let changed = new Set<string>();
    try {
      this.database.transaction(() => {
        for (const item of items) this.take(item);
        changed = this.save();
        if (position !== null) this.savePosition.run(position.commit.toString(), position.prepare.toString(), items.length);
        const last = items.findLast((item): item is StoredEvent => !(item instanceof EventCorruptError));
        if (last !== undefined) this.saveLast.run(last.stream, Number(last.revision), last.id);
      })();
    } catch (error) {
      this.forget();
      throw error;
    }
    return changed;
  }
}
