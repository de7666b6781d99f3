// Turns stored events into rows. A batch and its position are written in one transaction. So the file always shows the state after a whole
// number of events, even if the process is killed.
import type { Statement } from 'better-sqlite3';
import { EventCorruptError, type Position, type StoredEvent } from '#event-store';
import type { ViewsDatabase } from './views-file.js';
import { rowsOf } from './views-tables.js';

/** An event, or the error in the place of an unreadable event. */
export type RecordItem = StoredEvent | EventCorruptError;

/** The base class of projections. A subclass says which streams it reads, and writes the rows. */
export abstract class Projection {
  /** The prefixes of the streams whose events are projected. */
  abstract readonly streamPrefixes: readonly string[];
  private readonly savePosition: Statement;
  private readonly saveLast: Statement;

  constructor(protected readonly database: ViewsDatabase) {
    const rows = rowsOf('projection');
    this.savePosition = database.prepare(`UPDATE ${rows} SET position_commit = ?, position_prepare = ?, events = events + ?`);
    this.saveLast = database.prepare(`UPDATE ${rows} SET last_stream = ?, last_revision = ?, last_event_id = ?`);
  }

  /** Takes one item of a batch. An event that is delivered twice must leave the same rows. */
  protected abstract applyOne(item: RecordItem): void;

  /** Writes the state that the batch's items led to, and returns the ids of the aggregates that changed. */
  protected abstract save(): Set<string>;

  /** Forgets the states in memory after a batch was not stored, since they are newer than the file. */
  protected abstract forget(): void;

  /** Tells whether the projection has passed this event of its stream. */
  abstract hasPassed(event: EventCorruptError): boolean;

  /** Tells whether the event's commit has more events, which belong into the same transaction. */
  hasMoreToCome(_event: StoredEvent): boolean {
    return false;
  }

  /** Applies all items or none, and returns the ids of the aggregates that changed. */
  apply(items: readonly RecordItem[], position: Position | null): Set<string> {
    let changed = new Set<string>();
    try {
      this.database.transaction(() => {
        for (const item of items) this.applyOne(item);
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
