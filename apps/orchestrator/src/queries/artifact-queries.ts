// Answers ArtifactService: teachers and exports come from the views, bytes from the artifact store.
import { decodeExportManifest, isDigest, MEDIA_TYPE_EXPORT_MANIFEST, type ArtifactStore } from '#artifact-store';
import { EspalierError, invalidField, type v1 } from '#protocol';
import { artifactDiscarded } from '../pruning-run/aggregate/discarding.js';
import { digestStartingWith, SHORTEST_PREFIX } from '../pruning-run/aggregate/short-digests.js';
import { decodeSized, resultSize } from '../pruning-run/planning/result-size.js';
import type { ModelIdentity } from '../pruning-run/record/pruning-run.events.js';
import { dateOf, exportMessage } from '../views/run-message.js';
import type { RunViews } from '../views/run-views.js';

/** The size of a chunk. A call holds about two chunks for a client that doesn't read. */
const DOWNLOAD_CHUNK_BYTES = 256 << 10;

interface TeacherRow {
  mark: number;
  step: number;
  ownerRunId: string;
  expectedSparsity: number;
  hardSparsity: number;
  stateDigest: string;
  bytes: number;
  at: string;
  abandoned: number;
  inherited: number;
  discarded: number;
  sized: string;
}

/** The teachers in the order of their steps. Among those of one step, abandoned ones come before the one that replaced them. */
export async function listTeachers(views: RunViews, request: v1.ListTeachersRequest): Promise<v1.ListTeachersResponse> {
  const { run } = await views.summary(request.runId);
  const { runId } = run;
  const rows = views.database
    .prepare(
      `
    SELECT mark, step, owner_run_id AS ownerRunId, expected_sparsity AS expectedSparsity, hard_sparsity AS hardSparsity,
      state_digest AS stateDigest, bytes, at, abandoned, inherited, discarded, sized
    FROM teachers WHERE run_id = ? AND (abandoned = 0 OR ?) AND (inherited = 0 OR ?) AND (discarded = 0 OR ?)
     ORDER BY step, mark, revision`,
    )
    .all(runId, Number(request.includeAbandoned), Number(request.includeInherited), Number(request.includeDiscarded)) as TeacherRow[];
  return {
    teachers: rows.map(({ ownerRunId, step, bytes, at, abandoned, inherited, discarded, sized, ...rest }) => ({
      ...rest,
      ...sizeOf(run.model, sized),
      runId: ownerRunId,
      step: BigInt(step),
      bytes: BigInt(bytes),
      snapshottedAt: dateOf(at),
      abandoned: abandoned === 1,
      inherited: inherited === 1,
      discarded: discarded === 1,
    })),
  };
}

function sizeOf(
  model: ModelIdentity,
  sized: string,
): Pick<v1.Teacher, 'parameterCount' | 'multiplicationShare' | 'sizeEstimated' | 'weightBytes'> {
  const { parameterCount, multiplicationShare, estimated, bytes } = resultSize(model, decodeSized(sized));
  return { parameterCount: BigInt(parameterCount), multiplicationShare, sizeEstimated: estimated, weightBytes: BigInt(bytes) };
}

export async function listExports(views: RunViews, request: v1.ListExportsRequest): Promise<v1.ListExportsResponse> {
  const { run } = await views.summary(request.runId);
  return { exports: run.exports.map(exportMessage) };
}

/** @param requireAllowed throws where the caller may not read the artifact */
export async function statArtifact(
  views: RunViews,
  store: ArtifactStore,
  request: v1.StatArtifactRequest,
  requireAllowed: (digest: string) => void,
): Promise<v1.StatArtifactResponse> {
  const digest = await wholeDigest(views, store, request.digest);
  requireAllowed(digest);
  const found = await store.stat(digest);
  if (found === null) throw artifactNotFound(views, digest);
  const files = found.mediaType === MEDIA_TYPE_EXPORT_MANIFEST ? decodeExportManifest(await store.get(digest)) : [];
  return {
    bytes: BigInt(found.bytes),
    mediaType: found.mediaType,
    files: files.map((file) => ({ ...file, bytes: BigInt(file.bytes) })),
  };
}

/**
 * Reads the artifact at the client's pace. From offset 0 the digest is checked, so a download that ends without an error is whole.
 * @param requireAllowed throws where the caller may not read the artifact
 */
export async function* downloadArtifact(
  views: RunViews,
  store: ArtifactStore,
  { digest: named, offset }: v1.DownloadArtifactRequest,
  requireAllowed: (digest: string) => void,
): AsyncGenerator<v1.DownloadArtifactResponse> {
  const digest = await wholeDigest(views, store, named);
  requireAllowed(digest);
  const found = await store.stat(digest);
  if (found === null) throw artifactNotFound(views, digest);
  if (offset > BigInt(found.bytes)) throw invalidField('FIELD_OUT_OF_RANGE', 'offset', `0 to ${found.bytes} is allowed`);
  let totalBytes = BigInt(found.bytes);
  for await (const chunk of store.open(digest, Number(offset), DOWNLOAD_CHUNK_BYTES)) {
    yield { totalBytes, chunk: Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) };
    totalBytes = 0n; // only the first message has the size
  }
  if (totalBytes !== 0n || found.bytes === 0) yield { totalBytes, chunk: Buffer.alloc(0) };
}

/** Finds an artifact's digest by the digest itself or its beginning. */
async function wholeDigest(views: RunViews, store: ArtifactStore, text: string): Promise<string> {
  if (isDigest(text)) return text;
  if (!/^[0-9a-f]{4,64}$/.test(text)) {
    const allowed = `a SHA-256 in lower-case hex, or its first ${SHORTEST_PREFIX} or more digits, is needed`;
    throw invalidField('ARTIFACT_DIGEST_INVALID', 'digest', allowed);
  }
  const found = digestStartingWith(text, await store.digestsStartingWith(text), 'digest');
  if (found === undefined) throw artifactNotFound(views, text);
  return found;
}

/** The error for an artifact that never existed, or that an event says was removed. */
function artifactNotFound(views: RunViews, digest: string): EspalierError {
  const discard = views.discardOf(digest);
  if (discard !== null) return artifactDiscarded(discard, discard, 'digest');
  return new EspalierError('ARTIFACT_NOT_FOUND', `there is no artifact ${digest}`, {
    violations: [{ field: 'digest', description: 'is not in the artifact store', code: 'ARTIFACT_NOT_FOUND' }],
    metadata: { digest },
  });
}
