// The objects and uploads of a bucket, as its answers describe them.
export interface ListedObject {
  key: string;
  bytes: number;
  changedAt: Date;
}
export interface UploadedPart {
  number: number;
  bytes: number;
  etag: string;
  /** The SHA-256 in base64; undefined: the server keeps none. */
  sha256: string | undefined;
}
export interface Part {
  number: number;
  etag: string;
  sha256: string;
}

/** The multipart upload was completed or aborted by another server, or its parts do not fit. */
export class UploadGone extends Error {}
