// The artifacts that hold the tokens which a run trains on.
import type { DataIdentity, TokenShard, TokenSource } from './pruning-run.events.js';

type Tokens = Pick<DataIdentity, 'trainDigest' | 'trainTokens' | 'trainSources'>;

/** Returns the sources of a run's training text. A run without recorded sources has one source, with all tokens in one artifact. */
export function tokenSources({ trainSources, trainDigest, trainTokens }: Tokens): TokenSource[] {
  return trainSources ?? [{ parts: 1, shards: [{ digest: trainDigest, tokens: trainTokens }] }];
}

export function tokenShards(data: Tokens): TokenShard[] {
  return tokenSources(data).flatMap(({ shards }) => shards);
}
