import type Database from 'better-sqlite3';
import { parseStreamMetadata, type StreamMetadata } from './stream-metadata.js';

export interface StreamHead {
  id: number;
  name: string;
  /** The last revision; -1 if the stream has never had an event. */
  lastRevision: number;
  /** Loaded when it is first used; undefined: not loaded yet. */
  metadata: StreamMetadata | undefined;
}

const MAX_CACHED = 50_000;

/** Caches the last revision of each stream, so that most appends and wake-ups need no query. */
export class StreamHeads {
  private readonly byName = new Map<string, StreamHead>();
  private readonly names = new Map<number, string>();
  private readonly selectByName;
  private readonly selectName;
  private readonly selectLast;
  private readonly selectLastData;
  private readonly insert;

  constructor(database: Database.Database) {
    this.selectByName = database.prepare<[string], number>('SELECT id FROM streams WHERE name = ?').pluck();
    this.selectName = database.prepare<[number], string>('SELECT name FROM streams WHERE id = ?').pluck();
    this.selectLast = database
      .prepare<[number], number>('SELECT revision FROM events WHERE stream_id = ? ORDER BY revision DESC LIMIT 1')
      .pluck();
    this.selectLastData = database
      .prepare<[number], Buffer>('SELECT data FROM events WHERE stream_id = ? ORDER BY revision DESC LIMIT 1')
      .pluck();
    this.insert = database.prepare<[string]>('INSERT INTO streams (name) VALUES (?)');
  }

  find(name: string): StreamHead | undefined {
    const cached = this.byName.get(name);
    if (cached) return cached;
    const id = this.selectByName.get(name);
    return id === undefined ? undefined : this.remember({ id, name, lastRevision: this.selectLast.get(id) ?? -1, metadata: undefined });
  }

  /** Must be called inside a transaction. */
  findOrCreate(name: string): StreamHead {
    const found = this.find(name);
    if (found) return found;
    const id = Number(this.insert.run(name).lastInsertRowid);
    return this.remember({ id, name, lastRevision: -1, metadata: undefined });
  }

  nameOf(id: number): string {
    const cached = this.names.get(id);
    if (cached !== undefined) return cached;
    const name = this.selectName.get(id) ?? '';
    if (this.names.size >= MAX_CACHED) this.names.clear();
    this.names.set(id, name);
    return name;
  }

  metadataOf(head: StreamHead): StreamMetadata {
    head.metadata ??= this.metadataOfName(head.name);
    return head.metadata;
  }

  /** Returns the metadata of a stream, which may be set before the stream's first event. */
  metadataOfName(name: string): StreamMetadata {
    const metastream = this.find(`$$${name}`);
    const data = metastream && metastream.lastRevision >= 0 ? this.selectLastData.get(metastream.id) : undefined;
    return parseStreamMetadata(name, data);
  }

  /** Called after an event was written to `name`. If it is a metadata stream, the metadata is read again when next needed. */
  forgetMetadataHeldBy(name: string): void {
    if (!name.startsWith('$$')) return;
    const owner = this.byName.get(name.slice(2));
    if (owner) owner.metadata = undefined;
  }

  /** Empties the cache after a rollback, because it may hold changes that were undone. */
  clear(): void {
    this.byName.clear();
    this.names.clear();
  }

  private remember(head: StreamHead): StreamHead {
    if (this.byName.size >= MAX_CACHED) this.byName.clear();
    this.byName.set(head.name, head);
    return head;
  }
}
