// Sends the training text to an engine: the names of files that it reads by itself, and bytes for the rest.
import type { ArtifactStore } from '#artifact-store';
import type { engineV1 } from '#protocol';
import type { TokenSource } from '../../pruning-run/record/pruning-run.events.js';

export type TokenStore = Pick<ArtifactStore, 'open' | 'fileOf'>;

/** Names the files of sources. A source is read from files only if all of its shards have one. */
function locatedSources(sources: readonly TokenSource[], artifacts: TokenStore, readsFiles: boolean): engineV1.TokenSource[] {
  return sources.map(({ parts, shards }) => {
    const located = shards.map(({ digest, tokens }) => ({
      digest,
      tokenCount: BigInt(tokens),
      file: (readsFiles ? artifacts.fileOf(digest) : null) ?? '',
    }));
    const inFiles = located.every(({ file }) => file !== '');
    return { parts, shards: inFiles ? located : located.map((shard) => ({ ...shard, file: '' })) };
  });
}

async function* bytesToSend(sources: readonly engineV1.TokenSource[], artifacts: TokenStore): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(0); // the first message must come even where no bytes follow
  for (const { shards } of sources) for (const { digest, file } of shards) if (file === '') yield* artifacts.open(digest);
}

/** Returns the bytes to send, and the function that makes the message for a piece of them. */
export function tokenUpload(
  sessionId: string,
  asked: readonly TokenSource[],
  artifacts: TokenStore,
  readsFiles: boolean,
): [bytes: AsyncIterable<Uint8Array>, message: (chunk: Buffer, first: boolean) => engineV1.LoadTrainingTokensRequest] {
  const sources = locatedSources(asked, artifacts, readsFiles);
  return [bytesToSend(sources, artifacts), (chunk, first) => ({ sessionId: first ? sessionId : '', sources: first ? sources : [], chunk })];
}
