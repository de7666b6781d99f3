// Content-addressed bytes: an artifact's name is the SHA-256 of its bytes. So it can be stored anywhere, can be stored twice without harm,
// and any reader can check it. An artifact is visible under its name only when it is complete and durable. A large state is one artifact in
// slices: its name is the SHA-256 of the list of their digests (docs/design/files.md).
import type { Slice } from '#files';
import type { StoreReach } from './store-reach.js';

export interface PutOptions {
  /** The digest that the bytes must have; other bytes are refused with ARTIFACT_CORRUPT. */
  expectedDigest?: string;
  /** The media type, for stores that keep one. A folder store finds the type from the bytes. */
  mediaType?: string;
  /** The slices that the bytes have; absent: they are one piece. */
  slices?: readonly Slice[];
  /**
   * Called and awaited before the bytes appear under their digest, even if the store has the artifact already. The caller pins the artifact
   * here, so that it is not removed.
   */
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

/**
 * Artifacts that no event seems to need are set aside before they are removed. They can still be read, so nothing is lost if an artifact is
 * set aside by mistake.
 */
export interface Quarantine {
  /** Sets an artifact aside. Resolves to false if there is no such artifact. */
  moveIn(digest: string): Promise<boolean>;
  /** Moves an artifact back. Resolves to true if this call has put it among the artifacts again. */
  giveBack(digest: string): Promise<boolean>;
  /** The artifacts in quarantine. Their `storedAt` is the time when they were set aside. */
  list(): AsyncIterable<ArtifactEntry>;
  /** Removes the bytes for good. Resolves to true if there was something to remove. */
  remove(digest: string): Promise<boolean>;
}

/** A file that is being written to the store and has no digest yet. */
export interface IncomingFile {
  name: string;
  bytes: number;
  changedAt: Date;
  /** This process may still be writing the file. */
  isInUse: boolean;
}

/** The files that are written before they have a digest as their name. */
export interface Incoming {
  /**
   * Returns a new path that another process writes to. That process may also write several files, named by the path, "-" and a number.
   * `adopt` takes the files over.
   */
  newPath(): string;
  /** Tells that the path is no longer used. Files that are left there are removed. */
  end(path: string): Promise<void>;
  list(): AsyncIterable<IncomingFile>;
  /** Removes a file. Resolves to true if it was there. */
  remove(name: string): Promise<boolean>;
}

/** The note that names the event store whose events name the artifacts. */
export interface OwnerNote {
  /** Resolves to null if no server has worked with these artifacts. */
  read(): Promise<string | null>;
  /** Writes the name whole or not at all. If several servers write without `mayReplace`, the name of the first server stays. */
  write(name: string, mayReplace: boolean): Promise<void>;
}

/**
 * A part of an artifact, and the request that writes it: a PUT to the address, with these headers. The address is a secret until it
 * expires.
 */
export interface SignedPart {
  offset: number;
  bytes: number;
  url: string;
  headers: Record<string, string>;
}

/** Has another machine write the parts. Resolves to the answers to their requests, in their order. */
export type PutParts = (parts: readonly SignedPart[]) => Promise<readonly string[]>;

export interface ArtifactToWrite {
  digest: string;
  bytes: number;
  /** The SHA-256 of each part of `partBytes`; no part reaches from one slice into the next. */
  partSums: readonly Uint8Array[];
  /** Empty: the artifact is one piece. */
  slices: readonly Slice[];
  mediaType: string;
}

/**
 * Signs addresses, each for one request and for some minutes. By them another machine reads and writes artifacts, so that the bytes do not
 * pass this one, and no credential leaves it.
 */
export interface ArtifactAddresses {
  readonly partBytes: number;
  /** The addresses of the bytes, each by a GET: one, or those of the slices in their order. */
  toRead(digest: string): Promise<string[]>;
  /**
   * Resolves once the artifact is durable. `put` is called with the parts that the store lacks, perhaps some at a time. The writer vouches
   * for the digest of the whole; the store checks the parts' sums.
   */
  write(artifact: ArtifactToWrite, put: PutParts): Promise<void>;
}

/** The folder of notes, and the beginning of their keys. */
export const NOTES = 'notes';

/** Small files with names beside the artifacts. */
export interface Notes {
  /** Resolves once the note is durable. It appears whole or not at all. */
  write(name: string, text: string): Promise<void>;
  /** Resolves to null where there is no such note. */
  read(name: string): Promise<string | null>;
  names(): Promise<string[]>;
}

/** A store of artifacts. All methods reject with ArtifactStoreError. */
export interface ArtifactStore {
  /** Resolves once the artifact is durable: it survives a power cut. */
  put(bytes: AsyncIterable<Uint8Array> | Uint8Array, options?: PutOptions): Promise<PutResult>;
  /** Resolves to the whole artifact, checked against its digest. */
  get(digest: string): Promise<Uint8Array>;
  /**
   * Yields chunks of at most `chunkBytes`, by default 1 MiB, which are read as they are consumed. A read from offset 0 checks the digest at
   * the end.
   */
  open(digest: string, offset?: number, chunkBytes?: number): AsyncIterable<Uint8Array>;
  /** Yields the bytes of one slice of an artifact. */
  openSlice(digest: string, slice: string): AsyncIterable<Uint8Array>;
  /** Resolves to a part of the artifact, unchecked, and shorter where the artifact ends before. No other bytes of it are read. */
  range(digest: string, offset: number, bytes: number): Promise<Uint8Array>;
  stat(digest: string): Promise<ArtifactStat | null>;
  /** The slices of an artifact; null: it is one piece, or not there. */
  slicesOf(digest: string): Promise<Slice[] | null>;
  /** Reads all bytes of the artifact and compares them with its digest. */
  verify(digest: string): Promise<ArtifactCondition>;
  /** Removes the bytes for good. Resolves to true if there was something to delete. */
  delete(digest: string): Promise<boolean>;
  /** The artifacts that are not in quarantine. */
  list(): AsyncIterable<ArtifactEntry>;
  readonly quarantine: Quarantine;
  /** @param prefix at least two hex digits */
  digestsStartingWith(prefix: string): Promise<string[]>;
  readonly owner: OwnerNote;
  /** The names of files among the artifacts that are not artifacts. */
  unknownFiles(): AsyncIterable<string>;
  /**
   * The path of an artifact's bytes, or of the folder of its slices. It is valid as long as the artifact is not set aside or removed. Only
   * folder stores have this method.
   */
  pathOf?(digest: string): string;
  /**
   * A file of this machine that has the artifact's bytes, or a folder of its slices; null: nothing here has them. The bytes are unchecked,
   * and a cache may remove the file later.
   */
  fileOf(digest: string): string | null;
  /** A folder of this machine for files that can be made again from artifacts. */
  readonly sideFolder: string;
  /** Whether the store can be reached; undefined for stores that can always be reached. */
  readonly reach?: StoreReach;
  readonly incoming: Incoming;
  /** Only stores that other machines can reach by themselves have it. */
  readonly addresses?: ArtifactAddresses;
  /**
   * Makes the complete file or folder of slices at an incoming path an artifact. The writer vouches for the digest: a store need not check
   * it, and every reader does. Resolves once the artifact is durable.
   */
  adopt(incomingPath: string, digest: string): Promise<void>;
}
