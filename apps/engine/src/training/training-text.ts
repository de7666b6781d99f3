// The training text of a session: sources, whose shards are in files of this machine, or come with the call.
import { createHash, type Hash } from 'node:crypto';
import type { TokenSource } from '#native-engine';
import { EspalierError, invalidField, type engineV1 } from '#protocol';
import { PAYLOAD_BYTES_MAX, tokensOf } from '../calls/chunks.js';

export interface ReceivedText {
  sessionId: string;
  sources: TokenSource[];
  /** Equal for equal texts. */
  digest: string;
}

/** @param check looks at the first message before the rest is read, and throws the error that refuses the call */
export async function receiveText(
  messages: AsyncIterable<engineV1.LoadTrainingTokensRequest>,
  check: (first: engineV1.LoadTrainingTokensRequest) => void,
): Promise<ReceivedText> {
  let text: ReceivedText | undefined;
  let following: FollowingShard[] = [];
  for await (const message of messages) {
    if (text === undefined) {
      check(message);
      text = { sessionId: message.sessionId, sources: message.sources.map(sourceOf), digest: digestOf(message.sources) };
      following = followingShards(message.sources, text.sources);
    }
    let chunk: Uint8Array = message.chunk;
    while (chunk.byteLength > 0) {
      const shard = following[0];
      if (shard === undefined) throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', 'brings more bytes than the shards without a file have');
      chunk = shard.take(chunk);
      if (shard.isWhole) following.shift();
    }
  }
  if (text === undefined) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
  if (following[0] !== undefined) throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', `the stream ended within shard ${following[0].digest}`);
  return text;
}

function digestOf(sources: engineV1.TokenSource[]): string {
  const words = sources.map(({ parts, shards }) => [parts, ...shards.map(({ digest, tokenCount }) => `${digest} ${tokenCount}`)]);
  return createHash('sha256').update(JSON.stringify(words)).digest('hex');
}

function sourceOf({ parts, shards }: engineV1.TokenSource, index: number): TokenSource {
  const field = `sources[${index}]`;
  const files = shards.filter(({ file }) => file !== '');
  if (parts < 1) throw invalidField('FIELD_OUT_OF_RANGE', `${field}.parts`, 'must be at least 1');
  if (files.length > 0 && files.length < shards.length)
    throw invalidField('REQUEST_INVALID', `${field}.shards`, 'some have a file and some have none; all or none is allowed');
  if (files.length > 0)
    return { parts, files: shards.map(({ file, digest, tokenCount }) => ({ path: file, digest, tokens: Number(tokenCount) })) };
  const bytes = shards.reduce((sum, { tokenCount }) => sum + Number(tokenCount) * 4, 0);
  if (bytes > PAYLOAD_BYTES_MAX)
    throw invalidField(
      'FIELD_OUT_OF_RANGE',
      `${field}.shards`,
      `stand for ${bytes} bytes; at most ${PAYLOAD_BYTES_MAX} are taken into memory, where the engine has no files of them`,
    );
  return { parts, ids: tokensOf(new Uint8Array(bytes), field) };
}

/** A shard whose bytes come, written to its place in the words of its source. */
class FollowingShard {
  private readonly hash: Hash = createHash('sha256');
  private used = 0;

  constructor(
    readonly digest: string,
    private readonly target: Uint8Array,
  ) {}

  get isWhole(): boolean {
    return this.used === this.target.byteLength;
  }

  /** Returns the bytes of the shards after it. */
  take(chunk: Uint8Array): Uint8Array {
    const own = chunk.subarray(0, this.target.byteLength - this.used);
    this.target.set(own, this.used);
    this.used += own.byteLength;
    this.hash.update(own);
    if (this.isWhole) this.requireDigest();
    return chunk.subarray(own.byteLength);
  }

  private requireDigest(): void {
    const found = this.hash.digest('hex');
    if (found === this.digest) return;
    throw new EspalierError('STATE_CORRUPT', `the bytes received have digest ${found}, not ${this.digest}: they were damaged on the way`, {
      violations: [{ field: 'sources', description: `a digest is not that of its bytes, ${found}`, code: 'STATE_CORRUPT' }],
    });
  }
}

function followingShards(asked: engineV1.TokenSource[], sources: TokenSource[]): FollowingShard[] {
  return sources.flatMap((source, index) => {
    if (!('ids' in source)) return [];
    let begin = source.ids.byteOffset;
    return asked[index]!.shards.map(({ digest, tokenCount }) => {
      const target = new Uint8Array(source.ids.buffer, begin, Number(tokenCount) * 4);
      begin += target.byteLength;
      return new FollowingShard(digest, target);
    }).filter((shard) => !shard.isWhole);
  });
}
