// Translates a bucket's refusals to the codes of the artifact store. A message holds only the server's own words, without requests, headers
// or credentials.
import { ArtifactStoreError, subjectOf, type ArtifactErrorCode } from '../artifact-store.errors.js';

/** The fields of the client's errors that decide about the code. */
export interface S3Failure {
  name?: string;
  /** The code in the server's answer; undefined where the answer had none. */
  Code?: string;
  code?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number };
}

const BY_CODE: Record<string, ArtifactErrorCode> = {
  NoSuchKey: 'ARTIFACT_MISSING',
  NoSuchBucket: 'ARTIFACT_STORE_NOT_FOUND',
  SlowDown: 'ARTIFACT_STORE_BUSY',
  SlowDownRead: 'ARTIFACT_STORE_BUSY',
  SlowDownWrite: 'ARTIFACT_STORE_BUSY',
  ServiceUnavailable: 'ARTIFACT_STORE_BUSY',
  TooManyRequests: 'ARTIFACT_STORE_BUSY',
  RequestTimeTooSkewed: 'ARTIFACT_STORE_CLOCK',
  CredentialsProviderError: 'ARTIFACT_STORE_DENIED',
  ExpiredToken: 'ARTIFACT_STORE_DENIED',
  ExpiredTokenException: 'ARTIFACT_STORE_DENIED',
  InvalidToken: 'ARTIFACT_STORE_DENIED',
  QuotaExceeded: 'ARTIFACT_STORE_FULL',
  EntityTooLarge: 'ARTIFACT_STORE_FULL',
  XMinioStorageFull: 'ARTIFACT_STORE_FULL',
  XMinioAdminBucketQuotaExceeded: 'ARTIFACT_STORE_FULL',
  BadDigest: 'ARTIFACT_STORE_UNAVAILABLE', // the bytes were changed on their way
  XAmzContentChecksumMismatch: 'ARTIFACT_STORE_UNAVAILABLE',
  XAmzContentSHA256Mismatch: 'ARTIFACT_STORE_UNAVAILABLE',
};
const BY_STATUS: Record<number, ArtifactErrorCode> = {
  401: 'ARTIFACT_STORE_DENIED',
  403: 'ARTIFACT_STORE_DENIED',
  429: 'ARTIFACT_STORE_BUSY',
  503: 'ARTIFACT_STORE_BUSY',
  507: 'ARTIFACT_STORE_FULL',
};
const ADVICE: Partial<Record<ArtifactErrorCode, string>> = {
  ARTIFACT_STORE_DENIED: 'check the credentials and the policy of the bucket',
  ARTIFACT_STORE_NOT_FOUND: 'make the bucket, or check --artifacts, --s3-endpoint and --s3-region',
  ARTIFACT_STORE_CLOCK: 'set the clock of this machine',
  ARTIFACT_STORE_FULL: 'free some room there',
};

/** @param where the address of the bucket and its server, for the user */
export function toS3Error(error: unknown, action: string, digest: string | null, where: string): ArtifactStoreError {
  if (error instanceof ArtifactStoreError) return error;
  const failure = error as S3Failure;
  const code = codeOf(failure);
  const subject = subjectOf(digest);
  if (code === 'ARTIFACT_MISSING') return new ArtifactStoreError(code, `${subject} is not there (${where})`, digest, error);
  const advice = ADVICE[code];
  const message = `could not ${action} ${subject}: ${wordsOf(failure)} (${where})${advice === undefined ? '' : `; ${advice}`}`;
  return new ArtifactStoreError(code, message, digest, error);
}

/** Returns the digest at the end of a key, for messages. */
export function keyDigest(key: string): string | null {
  return /([0-9a-f]{64})$/.exec(key)?.[1] ?? null;
}

export const codeNamed = ({ Code, name }: S3Failure): string => Code ?? name ?? '';
export const statusOf = ({ $metadata }: S3Failure): number => $metadata?.httpStatusCode ?? 0;

/** Tells whether the failure is an answer of a working bucket, such as "no such key", rather than trouble with the bucket. */
export const isAnswer = (failure: S3Failure): boolean =>
  ['NoSuchKey', 'NoSuchUpload'].includes(codeNamed(failure)) ||
  ([400, 412].includes(statusOf(failure)) && BY_CODE[codeNamed(failure)] === undefined);

function codeOf(failure: S3Failure): ArtifactErrorCode {
  return BY_CODE[codeNamed(failure)] ?? BY_STATUS[statusOf(failure)] ?? 'ARTIFACT_STORE_UNAVAILABLE';
}

function wordsOf(failure: S3Failure): string {
  const status = statusOf(failure);
  const message = failure.message === undefined || failure.message === 'UnknownError' ? '' : firstLine(failure.message);
  const named = [failure.code, codeNamed(failure)].find((word) => word !== undefined && !['', 'Error', 'Unknown'].includes(word)) ?? '';
  const parts = [status === 0 ? '' : `status ${status}`, message.includes(named) ? '' : named, message].filter(Boolean);
  return parts.length === 0 ? 'no answer' : parts.join(', ');
}

const firstLine = (text: string): string => text.replace(/\n.*$/s, '').slice(0, 300);
