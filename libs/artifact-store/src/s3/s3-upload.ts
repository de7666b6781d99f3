// Uploads a file under its digest. A large file is sent in parts. Parts that were sent by an upload before a crash are not sent again: the
// key is the digest, so all parts of a key belong to the same file, whichever server sent them.
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { fillFrom } from '#files';
import { ArtifactStoreError, subjectOf } from '../artifact-store.errors.js';
import { mediaTypeOf, MEDIA_TYPE_PROBE_BYTES } from '../media-type.js';
import { readChunks } from '../read-chunks.js';
import { ObjectThere } from './conditional-writes.js';
import type { S3Bucket } from './s3-bucket.js';
import { UploadGone, type Part, type UploadedPart } from './s3-objects.js';

const MIB = 1 << 20;
/** The size of the smallest part, and of the largest file that is sent in one request. */
export const PART_BYTES = 16 * MIB;
const PARTS_MAX = 10_000;
/** The number of parts that all uploads together may hold in memory. */
const PARTS_AT_ONCE = 4;
/** The number of tries, for the case that another server ends the upload first. */
const UPLOADS_TRIED = 3;

export interface FileToSend {
  path: string;
  bytes: number;
  digest: string;
}

interface ReadFile {
  mediaType: string;
  partBytes: number;
  /** The SHA-256 of each part, in base64. */
  partSums: string[];
}
/** The object that an upload has to make. */
export interface UploadRequest extends Pick<ReadFile, 'partSums'> {
  bucket: S3Bucket;
  key: string;
  bytes: number;
  digest: string;
}
interface Sending extends ReadFile, UploadRequest {
  file: FileHandle;
}

let sending = 0;
const waiting: (() => void)[] = [];

/**
 * Returns once the bucket has the whole file under the key.
 * @returns whether the object existed before
 * @throws ArtifactStoreError
 */
export async function upload(bucket: S3Bucket, key: string, { path, bytes, digest }: FileToSend): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const sending = { bucket, key, file, bytes, digest, ...(await readWhole(file, bytes, digest)) };
    return await (bytes <= PART_BYTES ? sendAtOnce(sending) : sendInParts(sending));
  } finally {
    await file.close();
  }
}

async function sendAtOnce(sending: Sending): Promise<boolean> {
  const { bucket, key, file, bytes, partSums, mediaType } = sending;
  return withPlace(async () => {
    const content = await bytesAt(file, 0, bytes);
    const put = (onlyIfNew: boolean): Promise<void> => bucket.put(key, content, { sha256: partSums[0]!, onlyIfNew, mediaType });
    try {
      await put(true);
      return false;
    } catch (error) {
      if (!(error instanceof ObjectThere)) throw error;
    }
    if (!(await isWhole(sending))) await put(false);
    return true;
  });
}

async function sendInParts(sending: Sending): Promise<boolean> {
  const { bucket, key, digest, mediaType } = sending;
  const there = await bucket.head(key);
  if (there !== null && (await isWhole(sending))) return true;
  for (let tried = 1; ; tried += 1) {
    const begun = tried === 1 ? await bucket.openUpload(key) : null;
    const uploadId = begun ?? (await bucket.beginUpload(key, mediaType));
    try {
      const parts = await sendParts(sending, uploadId, begun !== null);
      await bucket.endUpload(key, uploadId, parts, there === null);
      return there !== null;
    } catch (error) {
      if (!(error instanceof ObjectThere) && !(error instanceof UploadGone)) throw error;
      // Another server was faster, or the answer to this upload's own completion was lost.
      if (await isWhole(sending)) return true;
      if (tried === UPLOADS_TRIED)
        throw new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', `could not write ${subjectOf(digest)}`, digest, error);
    }
  }
}

async function sendParts(sending: Sending, uploadId: string, mayHaveParts: boolean): Promise<Part[]> {
  const { bucket, key, file, bytes, partBytes, partSums } = sending;
  const sent = new Map<number, UploadedPart>();
  if (mayHaveParts) for await (const part of bucket.uploadedParts(key, uploadId)) sent.set(part.number, part);
  const send = async (sha256: string, index: number): Promise<Part> => {
    const number = index + 1;
    const size = Math.min(partBytes, bytes - index * partBytes);
    const before = sent.get(number);
    return withPlace(async () => {
      if (before?.bytes === size && before.sha256 === sha256) return { number, etag: before.etag, sha256 };
      const content = await bytesAt(file, index * partBytes, size);
      if (before?.bytes === size && before.sha256 === undefined && before.etag === etagOf(content))
        return { number, etag: before.etag, sha256 };
      return { number, etag: await bucket.putPart(key, uploadId, number, content, sha256), sha256 };
    });
  };
  const results = await Promise.allSettled(partSums.map(send));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<Part>).value);
}

/** Tells whether the existing object has the file's bytes. */
export async function isWhole({ bucket, key, bytes, digest, partSums }: UploadRequest): Promise<boolean> {
  const there = await bucket.head(key);
  if (there?.bytes !== bytes) return false;
  if (there.sha256 !== undefined && there.sha256 === base64(digest)) return true;
  if (there.sha256 !== undefined && there.sha256 === sumOfParts(partSums)) return true;
  if (there.sha256 !== undefined && !there.sha256.includes('-')) return false;
  // The server keeps no checksums, or keeps those of parts of another size.
  const hash = createHash('sha256');
  for await (const chunk of bucket.read(key, 0)) hash.update(chunk);
  return hash.digest('hex') === digest;
}

/** Reads the whole file and computes its sums. @throws ArtifactStoreError ARTIFACT_CORRUPT if the file has another digest */
async function readWhole(file: FileHandle, bytes: number, digest: string): Promise<ReadFile> {
  const partBytes = Math.max(PART_BYTES, Math.ceil(bytes / PARTS_MAX / MIB) * MIB);
  const whole = createHash('sha256');
  const partSums: string[] = [];
  let [part, inPart] = [createHash('sha256'), 0];
  let head: Uint8Array = new Uint8Array();
  for await (const chunk of readChunks(file, 0, MIB)) {
    if (partSums.length === 0 && inPart === 0) head = chunk.slice(0, MEDIA_TYPE_PROBE_BYTES);
    if (inPart === partBytes) {
      partSums.push(part.digest('base64'));
      [part, inPart] = [createHash('sha256'), 0];
    }
    whole.update(chunk);
    part.update(chunk);
    inPart += chunk.byteLength;
  }
  partSums.push(part.digest('base64'));
  const actual = whole.digest('hex');
  if (actual !== digest)
    throw new ArtifactStoreError('ARTIFACT_CORRUPT', `the bytes have digest ${actual}, not the announced ${digest}`, digest);
  return { mediaType: mediaTypeOf(head, bytes), partBytes, partSums };
}

/** The checksum as a bucket states it for an object that was sent in parts. */
function sumOfParts(partSums: string[]): string {
  const hash = createHash('sha256');
  for (const sum of partSums) hash.update(Buffer.from(sum, 'base64'));
  return `${hash.digest('base64')}-${partSums.length}`;
}

const base64 = (digest: string): string => Buffer.from(digest, 'hex').toString('base64');
const etagOf = (content: Uint8Array): string => `"${createHash('md5').update(content).digest('hex')}"`;

async function bytesAt(file: FileHandle, offset: number, bytes: number): Promise<Uint8Array> {
  const content = Buffer.allocUnsafe(bytes);
  await fillFrom(file, content, offset, () => new Error('a file was cut while it was sent'));
  return content;
}

async function withPlace<T>(work: () => Promise<T>): Promise<T> {
  if (sending === PARTS_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else sending += 1;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) sending -= 1;
    else next(); // the next upload takes this one's place
  }
}
