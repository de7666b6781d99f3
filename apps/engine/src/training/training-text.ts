// The training text of a session: sources, whose shards are in files of this machine, or come with the call. Shards that come are kept in
// files of this process's scratch folder until the session has opened them.
import { createHash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { TokenFile, TokenSource } from '#native-engine';
import { EspalierError, invalidField, type engineV1 } from '#protocol';
import type { EngineServiceParts } from '../service-parts.js';

/**
 * Gives `use` the session's id and the sources.
 * @param check looks at the first message before the rest is read, and throws the error that refuses the call
 */
export async function withReceivedText<T>(
  scratch: EngineServiceParts['scratch'],
  messages: AsyncIterable<engineV1.LoadTrainingTokensRequest>,
  check: (first: engineV1.LoadTrainingTokensRequest) => void,
  use: (sessionId: string, sources: Extract<TokenSource, { files: TokenFile[] }>[]) => Promise<T>,
): Promise<T> {
  const following = new FollowingShards();
  let first: engineV1.LoadTrainingTokensRequest | undefined;
  let sources: Extract<TokenSource, { files: TokenFile[] }>[] = [];
  try {
    for await (const message of messages) {
      if (first === undefined) {
        first = message;
        check(first);
        sources = first.sources.map((source, index) => sourceOf(source, index, () => following.add(scratch.newPath())));
        await following.begin(sources);
      }
      await following.write(message.chunk);
    }
    if (first === undefined) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
    await following.requireWhole();
    return await use(first.sessionId, sources);
  } finally {
    await following.remove();
  }
}

function sourceOf(
  { parts, shards }: engineV1.TokenSource,
  index: number,
  newPath: () => string,
): Extract<TokenSource, { files: TokenFile[] }> {
  const field = `sources[${index}]`;
  const files = shards.filter(({ file }) => file !== '');
  if (parts < 1) throw invalidField('FIELD_OUT_OF_RANGE', `${field}.parts`, 'must be at least 1');
  if (files.length > 0 && files.length < shards.length)
    throw invalidField('REQUEST_INVALID', `${field}.shards`, 'some have a file and some have none; all or none is allowed');
  if (shards.some(({ tokenCount }) => tokenCount * 4n > BigInt(Number.MAX_SAFE_INTEGER)))
    throw invalidField('FIELD_OUT_OF_RANGE', `${field}.shards`, 'have more tokens than any file');
  return {
    parts,
    files: shards.map(({ file, digest, tokenCount }) => ({ path: file || newPath(), digest, tokens: Number(tokenCount) })),
  };
}

/** The files of the shards that come, one after the other. */
class FollowingShards {
  private readonly paths = new Set<string>();
  private waiting: TokenFile[] = [];
  private file: FileHandle | null = null;
  private digest = '';
  private hash = createHash('sha256');
  private left = 0;

  add(path: string): string {
    this.paths.add(path);
    return path;
  }

  async begin(sources: { files: TokenFile[] }[]): Promise<void> {
    this.waiting = sources.flatMap(({ files }) => files).filter(({ path }) => this.paths.has(path));
    await this.next();
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.byteLength;) {
      if (this.file === null) throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', 'brings more bytes than the shards without a file have');
      const { bytesWritten } = await this.file.write(chunk, at, Math.min(this.left, chunk.byteLength - at));
      this.hash.update(chunk.subarray(at, at + bytesWritten));
      at += bytesWritten;
      this.left -= bytesWritten;
      if (this.left > 0) continue;
      requireDigest(this.hash.digest('hex'), this.digest);
      await this.next();
    }
  }

  requireWhole(): Promise<void> {
    if (this.file === null) return Promise.resolve();
    throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', `the stream ended ${this.left} bytes before the end of a shard`);
  }

  async remove(): Promise<void> {
    await this.file?.close().catch(() => undefined);
    // Each has a folder of its own in this process's scratch folder.
    for (const path of this.paths) await rm(dirname(path), { recursive: true, force: true }).catch(() => undefined);
  }

  /** Opens the file of the next shard that has bytes. */
  private async next(): Promise<void> {
    await this.file?.close();
    this.file = null;
    for (let shard = this.waiting.shift(); shard !== undefined; shard = this.waiting.shift()) {
      this.left = shard.tokens * 4;
      this.digest = shard.digest;
      this.hash = createHash('sha256');
      const file = await open(shard.path, 'wx', 0o600);
      if (this.left === 0) await file.close();
      else this.file = file;
      if (this.left > 0) return;
    }
  }
}

function requireDigest(found: string, announced: string): void {
  if (found === announced) return;
  throw new EspalierError('STATE_CORRUPT', `the bytes received have digest ${found}, not ${announced}: they were damaged on the way`, {
    violations: [{ field: 'sources', description: `a digest is not that of its bytes, ${found}`, code: 'STATE_CORRUPT' }],
  });
}
