// An exported model consists of files. The manifest names them, and the manifest's digest names the export.
import { EXPORT_MANIFEST_LEAD } from './media-type.js';
import { ArtifactStoreError } from './artifact-store.errors.js';
import { isPlainName } from '#files';
import { isDigest } from './digest.js';

export interface ExportManifestFile {
  name: string;
  bytes: number;
  digest: string;
}

/**
 * Encodes the manifest with its files sorted by name, so that equal exports have equal digests. @throws ArtifactStoreError for a name that
 * `decodeExportManifest` would refuse
 */
export function encodeExportManifest(files: ExportManifestFile[]): Uint8Array {
  for (const [index, { name }] of files.entries()) requirePlainName(name, index);
  const sorted = [...files]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ name, bytes, digest }) => ({ bytes, digest, name }));
  return Buffer.from(`${EXPORT_MANIFEST_LEAD}1,"files":${JSON.stringify(sorted)}}`, 'utf8');
}

export function decodeExportManifest(bytes: Uint8Array): ExportManifestFile[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw malformed('is not JSON');
  }
  const { espalierExportManifest: version, files } = (parsed ?? {}) as { espalierExportManifest?: unknown; files?: unknown };
  if (version !== 1) throw malformed(`has version ${JSON.stringify(version)} (1 is allowed)`);
  if (!Array.isArray(files)) throw malformed('has no list of files');
  return files.map((file: Partial<ExportManifestFile>, index) => {
    const { name, bytes: size, digest } = file;
    requirePlainName(name, index);
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw malformed(`has bad bytes in files[${index}]`);
    if (typeof digest !== 'string' || !isDigest(digest)) throw malformed(`has a bad digest in files[${index}]`);
    return { name, bytes: size, digest };
  });
}

function requirePlainName(name: unknown, index: number): asserts name is string {
  if (typeof name !== 'string' || !isPlainName(name)) throw malformed(`has a bad name in files[${index}]`);
}

function malformed(what: string): ArtifactStoreError {
  return new ArtifactStoreError('ARTIFACT_CORRUPT', `the export manifest ${what}`);
}
