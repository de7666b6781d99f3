// Keeps the notifications that wait for their receivers, and how far the event store was read. Both change in one transaction. So after a
// crash at any moment no notification is missing, and none comes again that was delivered and taken out.
import Database from 'better-sqlite3';
import { existsSync } from 'node:fs';
import type { Position } from '#event-store';
import { ownVersion } from '#files';
import { EspalierError } from '#protocol';
import type { Notification } from './notifications.js';

/** The last event that was read. */
export interface Cursor {
  position: Position;
  stream: string;
  revision: bigint;
  /** Null where that event is damaged. */
  id: string | null;
}

export interface Waiting {
  id: string;
  /** The notification as JSON, with the same bytes at each attempt. */
  body: string;
  /** The number of failed attempts. */
  failures: number;
  nextAtMs: number;
}

/** Grows with each change of the tables that this release could not read or write. */
const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS cursor (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), last TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS waiting (
    webhook TEXT NOT NULL, id TEXT NOT NULL, of_run INTEGER NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0, next_at_ms INTEGER NOT NULL, PRIMARY KEY (webhook, id)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS by_time ON waiting (webhook, next_at_ms);
  CREATE TABLE IF NOT EXISTS low_disks (folder TEXT PRIMARY KEY) STRICT;
  PRAGMA user_version = ${SCHEMA_VERSION};`;

export class Outbox {
  private constructor(private readonly database: Database.Database) {}

  /** @param webhooks the names of the webhooks in the file; notifications that wait for others are removed */
  static open(file: string, webhooks: readonly string[]): Outbox {
    requireKnownOutbox(file);
    const database = new Database(file);
    try {
      database.pragma('journal_mode = WAL');
      database.exec(SCHEMA);
      database.prepare('DELETE FROM waiting WHERE webhook NOT IN (SELECT value FROM json_each(?))').run(JSON.stringify(webhooks));
    } catch (error) {
      database.close();
      throw error;
    }
    return new Outbox(database);
  }

  close(): void {
    this.database.close();
  }

  /** Undefined where the store was never read, and null where it held no run when it was read. */
  get cursor(): Cursor | null | undefined {
    const row = this.database.prepare<[], { last: string | null }>('SELECT last FROM cursor').get();
    if (row === undefined) return undefined;
    if (row.last === null) return null;
    const { commit, prepare, stream, revision, id } = JSON.parse(row.last) as Record<
      'commit' | 'prepare' | 'stream' | 'revision',
      string
    > & {
      id: string | null;
    };
    return { position: { commit: BigInt(commit), prepare: BigInt(prepare) }, stream, revision: BigInt(revision), id };
  }

  moveTo(cursor: Cursor | null): void {
    const last =
      cursor === null
        ? null
        : JSON.stringify({
            commit: String(cursor.position.commit),
            prepare: String(cursor.position.prepare),
            stream: cursor.stream,
            revision: String(cursor.revision),
            id: cursor.id,
          });
    this.database.prepare('INSERT OR REPLACE INTO cursor VALUES (1, ?)').run(last);
  }

  /** @param told each notification with the webhook that it is for */
  addRead(told: readonly (readonly [webhook: string, Notification])[], cursor: Cursor, nowMs: number): void {
    this.database.transaction(() => {
      for (const [webhook, notification] of told) this.add(webhook, notification, nowMs);
      this.moveTo(cursor);
    })();
  }

  isLow(folder: string): boolean {
    return this.database.prepare('SELECT 1 FROM low_disks WHERE folder = ?').get(folder) !== undefined;
  }

  setLow(folder: string, told: readonly (readonly [webhook: string, Notification])[], nowMs: number): void {
    this.database.transaction(() => {
      for (const [webhook, notification] of told) this.add(webhook, notification, nowMs);
      this.database.prepare('INSERT OR IGNORE INTO low_disks VALUES (?)').run(folder);
    })();
  }

  setRoomy(folder: string): void {
    this.database.prepare('DELETE FROM low_disks WHERE folder = ?').run(folder);
  }

  private add(webhook: string, notification: Notification, nowMs: number): void {
    const atMs = Date.parse(notification.time) || nowMs; // an event may lack its time
    this.database
      .prepare('INSERT OR IGNORE INTO waiting (webhook, id, of_run, at_ms, body, next_at_ms) VALUES (?, ?, ?, ?, ?, ?)')
      .run(webhook, notification.id, Number(notification.run !== null), atMs, JSON.stringify(notification), nowMs);
  }

  /** @param withRuns false to get only notifications about this machine itself */
  next(webhook: string, withRuns: boolean): Waiting | null {
    const row = this.database
      .prepare<[string, number], Waiting>(
        `SELECT id, body, failures, next_at_ms AS nextAtMs FROM waiting
         WHERE webhook = ? AND of_run <= ? ORDER BY next_at_ms, at_ms, rowid LIMIT 1`,
      )
      .get(webhook, Number(withRuns));
    return row ?? null;
  }

  count(webhook: string): number {
    return this.database.prepare<[string], { n: number }>('SELECT count(*) AS n FROM waiting WHERE webhook = ?').get(webhook)!.n;
  }

  retryAt(webhook: string, id: string, nextAtMs: number): void {
    this.database
      .prepare('UPDATE waiting SET failures = failures + 1, next_at_ms = ? WHERE webhook = ? AND id = ?')
      .run(Math.round(nextAtMs), webhook, id);
  }

  remove(webhook: string, id: string): void {
    this.database.prepare('DELETE FROM waiting WHERE webhook = ? AND id = ?').run(webhook, id);
  }

  /** Removes notifications of events from before a time, and returns their number. */
  expire(webhook: string, beforeMs: number): number {
    return this.database.prepare('DELETE FROM waiting WHERE webhook = ? AND at_ms < ?').run(webhook, beforeMs).changes;
  }
}

/** Refuses a file of a later release without a change in it. @throws EspalierError WEBHOOKS_OF_LATER_RELEASE */
export function requireKnownOutbox(file: string): void {
  const version = existsSync(file) ? versionOf(file) : 0;
  if (version <= SCHEMA_VERSION) return;
  throw new EspalierError(
    'WEBHOOKS_OF_LATER_RELEASE',
    `"${file}", where notifications wait for their webhooks, is of a later release or build: its schema has version ${version}, and this ` +
      `build of release ${ownVersion()} reads up to ${SCHEMA_VERSION}. Nothing is changed. Use a later one, or move this file away: its ` +
      'notifications are then not sent',
  );
}

/** The version of the file's schema; 0 for a file that can't be read, which opening it reports. */
function versionOf(file: string): number {
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { readonly: true, timeout: 5_000 });
    return database.pragma('user_version', { simple: true }) as number;
  } catch {
    return 0;
  } finally {
    database?.close();
  }
}
