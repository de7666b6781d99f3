/** Stable codes, which clients receive unchanged. */
export type ArtifactErrorCode =
  | 'ARTIFACT_MISSING'
  | 'ARTIFACT_CORRUPT'
  | 'ARTIFACT_STORE_FULL'
  | 'ARTIFACT_STORE_READ_ONLY'
  | 'ARTIFACT_STORE_UNAVAILABLE'
  | 'ARTIFACT_STORE_BUSY'
  | 'ARTIFACT_STORE_DENIED'
  | 'ARTIFACT_STORE_NOT_FOUND'
  | 'ARTIFACT_STORE_CLOCK'
  | 'ARTIFACT_DIGEST_INVALID';

export class ArtifactStoreError extends Error {
  readonly code: ArtifactErrorCode;
  /** The artifact that the error is about; null: the error is about no single artifact. */
  readonly digest: string | null;

  constructor(code: ArtifactErrorCode, message: string, digest: string | null = null, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ArtifactStoreError';
    this.code = code;
    this.digest = digest;
  }
}

/** Names an artifact in a sentence. The first digits of its digest tell it from others. */
export const subjectOf = (digest: string | null): string => (digest === null ? 'the artifact store' : `artifact ${digest.slice(0, 12)}`);

/** Gives an error of the file system its stable code. An error that already has a stable code is returned unchanged. */
export function toArtifactError(error: unknown, action: string, digest: string | null): ArtifactStoreError {
  if (error instanceof ArtifactStoreError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const subject = subjectOf(digest);
  switch (code) {
    case 'ENOENT':
      return new ArtifactStoreError('ARTIFACT_MISSING', `${subject} is not there`, digest, error);
    case 'ENOSPC':
    case 'EDQUOT':
      return new ArtifactStoreError('ARTIFACT_STORE_FULL', `no space left to ${action} ${subject}`, digest, error);
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return new ArtifactStoreError('ARTIFACT_STORE_READ_ONLY', `not permitted to ${action} ${subject}`, digest, error);
    case 'EIO':
      return new ArtifactStoreError('ARTIFACT_CORRUPT', `the disk can't ${action} ${subject}`, digest, error);
    default:
      return new ArtifactStoreError(
        'ARTIFACT_STORE_UNAVAILABLE',
        `could not ${action} ${subject}: ${(error as Error).message}`,
        digest,
        error,
      );
  }
}
