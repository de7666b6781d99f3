// Content-addressed bytes: an artifact's name is the SHA-256 of its bytes, so it can be stored anywhere, stored twice
// without harm, and checked by anyone. Nothing is visible under its name before it is complete and durable.
import type { StoreReach } from './store-reach.js';

export interface PutOptions {
  /** Refuse (ARTIFACT_CORRUPT) bytes that have another digest. */
  expectedDigest?: string;
  /** A hint for stores that keep one; a folder tells the type from the bytes. */
  mediaType?: string;
  /** Awaited before the bytes appear under their digest, also where they lie there already: now is the time to pin them. */
  beforeNamed?: (digest: string) => Promise<void>;
}
export interface PutResult {
  digest: string;
  bytes: number;
}
export interface ArtifactStat {
  bytes: number;
  mediaType: string;
}
export interface ArtifactEntry {
  digest: string;
  bytes: number;
  storedAt: Date;
}
export type ArtifactCondition = 'ok' | 'missing' | 'corrupt';

/** Artifacts that no event seems to need are set aside before they are removed. They can still be read, so a mistake costs nothing. */
export interface Quarantine {
  /** False: there is no such artifact. */
  take(digest: string): Promise<boolean>;
  /** True when it is among the artifacts again by this call. */
  giveBack(digest: string): Promise<boolean>;
  /** `storedAt` is when it was set aside. */
  list(): AsyncIterable<ArtifactEntry>;
  /** Removes the bytes for good. True when there was something to remove. */
  remove(digest: string): Promise<boolean>;
}

/** A file on its way into the store. */
export interface IncomingFile {
  name: string;
  bytes: number;
  changedAt: Date;
  /** This process may still be at work on it. */
  isInUse: boolean;
}

/** Files that are written before they have a digest for a name. */
export interface Incoming {
  /** A new path for another process to write to, or to several that begin with it and "-" and a number; `adopt` takes them over. */
  newPath(): string;
  /** The path is used no more: files that are left there are removed. */
  end(path: string): Promise<void>;
  list(): AsyncIterable<IncomingFile>;
  /** True when it was there. */
  remove(name: string): Promise<boolean>;
}

/** The name of the event store whose events name the artifacts. */
export interface OwnerNote {
  /** null: no server has worked with these artifacts. */
  read(): Promise<string | null>;
  /** Writes the name whole or not at all. Where several servers write without `mayReplace`, the name of the first one stays. */
  write(name: string, mayReplace: boolean): Promise<void>;
}

/** All methods reject with ArtifactStoreError. */
export interface ArtifactStore {
  /** Returns once the bytes survive a power cut under their digest. */
  put(bytes: AsyncIterable<Uint8Array> | Uint8Array, options?: PutOptions): Promise<PutResult>;
  /** The whole artifact, checked against its digest. */
  get(digest: string): Promise<Uint8Array>;
  /** Chunks of at most 1 MiB unless less is asked for, read as they are consumed; from offset 0 the digest is checked at the end. */
  open(digest: string, offset?: number, chunkBytes?: number): AsyncIterable<Uint8Array>;
  stat(digest: string): Promise<ArtifactStat | null>;
  /** Reads everything. */
  verify(digest: string): Promise<ArtifactCondition>;
  /** Removes the bytes for good. True when there was something to delete. */
  delete(digest: string): Promise<boolean>;
  /** Without those in the quarantine. */
  list(): AsyncIterable<ArtifactEntry>;
  readonly quarantine: Quarantine;
  /** @param prefix at least two hex digits */
  digestsStartingWith(prefix: string): Promise<string[]>;
  readonly owner: OwnerNote;
  /** Names of other files among the artifacts. */
  strangers(): AsyncIterable<string>;
  /** Where the bytes lie, for as long as they are artifacts; folder store only. */
  pathOf?(digest: string): string;
  /** A file of this machine that has the bytes now; null: no file has them. The reader checks them. A cache may remove the file later. */
  fileOf(digest: string): string | null;
  /** A folder of this machine for what can be made again from artifacts. */
  readonly sideFolder: string;
  /** Only of a store that may be out of reach. */
  readonly reach?: StoreReach;
  readonly incoming: Incoming;
  /**
   * Makes a complete file at an incoming path an artifact. The writer vouches for its digest, and any reader checks it. Returns once the
   * bytes survive a power cut.
   */
  adopt(incomingPath: string, digest: string): Promise<void>;
}
