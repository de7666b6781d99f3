// The requests to a bucket that artifacts need. Only this file and s3-signing.ts load the client of AWS, so a server without a bucket does
// not load it.
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ArtifactStoreError } from '../artifact-store.errors.js';
import type { Access, StoreReach } from '../store-reach.js';
import { conditional, ObjectThere } from './conditional-writes.js';
import { s3Address, type S3Location } from './s3-location.js';
import { UploadGone, type ListedObject, type Part, type UploadedPart } from './s3-objects.js';
import { S3Signing } from './s3-signing.js';
import { codeNamed, isAnswer, keyDigest, statusOf, toS3Error, type S3Failure } from './s3-errors.js';

const ATTEMPTS = 5;
const CONNECT_WITHIN_MS = 5_000;
/** A server that sends and takes nothing for this time counts as not answering. */
const SILENT_FOR_MS = 20_000;
/** A request that takes longer than this, repetitions included, is reported as a problem while it goes on. */
const SLOW_AFTER_MS = 60_000;
/** The number of connections in a row that may break in the middle of an object without a byte in between. */
const BREAKS_MAX = 4;
const FIRST_PAUSE_MS = 100;

interface RangeRead {
  bytes: Uint8Array;
  /** The size of the whole object. */
  wholeBytes: number;
}

/** The object from a given byte on. */
interface Ranged {
  body: Readable;
  /** The size of the whole object. */
  bytes: number;
  etag: string | undefined;
}

export class S3Bucket {
  private readonly client: S3Client;
  /** The address of the bucket, for messages. */
  readonly where: string;
  readonly bucket: string;
  readonly signing: S3Signing;

  constructor(
    location: S3Location,
    private readonly reach: StoreReach,
  ) {
    const { bucket, endpoint, region } = location;
    // Engines need this version of Node, and the client's warning about it would appear in every log.
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
    this.bucket = bucket;
    this.where = endpoint === undefined ? s3Address(location) : `${s3Address(location)} at ${endpoint}`;
    this.client = new S3Client({
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
      // A self-hosted S3 server accepts any region.
      ...(region === undefined ? (endpoint === undefined ? {} : { region: process.env['AWS_REGION'] ?? 'us-east-1' }) : { region }),
      retryMode: 'standard',
      maxAttempts: Number(process.env['AWS_MAX_ATTEMPTS']) || ATTEMPTS,
      requestHandler: { connectionTimeout: CONNECT_WITHIN_MS, socketTimeout: SILENT_FOR_MS },
      // The requests carry SHA-256 themselves, and older servers refuse the trailers that the client would add.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
    this.signing = new S3Signing(this.client, this.bucket, this.where);
  }

  close(): void {
    this.client.destroy();
  }

  /** @throws ObjectThere if `onlyIfNew` and the object exists */
  async put(key: string, bytes: Uint8Array, { sha256, onlyIfNew, mediaType }: { sha256: string; onlyIfNew: boolean; mediaType?: string }) {
    const send = (isConditional: boolean): Promise<unknown> =>
      this.client.send(
        new PutObjectCommand({
          Bucket: this.bucket,
          Key: key,
          Body: bytes,
          ContentType: mediaType,
          ChecksumAlgorithm: 'SHA256',
          ChecksumSHA256: sha256,
          ...(isConditional ? { IfNoneMatch: '*' } : {}),
        }),
      );
    await this.reported('write', 'write', keyDigest(key), () => conditional(send, onlyIfNew));
  }

  /** Returns size and SHA-256 in base64; of an object in N parts it may be that of the parts' sums and "-N". null: there is no object. */
  async head(key: string): Promise<{ bytes: number; sha256: string | undefined } | null> {
    return this.missing(key, async () => {
      const found = await this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key: key, ChecksumMode: 'ENABLED' }));
      return { bytes: found.ContentLength ?? 0, sha256: found.ChecksumSHA256 };
    });
  }

  /** Whether an object can be there. The answer is also false for a bucket that is gone: the next request to the bucket finds that out. */
  async mayHave(key: string): Promise<boolean> {
    const head = new HeadObjectCommand({ Bucket: this.bucket, Key: key });
    const found = await this.reported('read', 'read', keyDigest(key), () =>
      this.client.send(head).catch((error: unknown) => (statusOf(error as S3Failure) === 404 ? null : Promise.reject(error as Error))),
    );
    return found !== null;
  }

  /** Returns the first `count` bytes and the object's size; null: the object does not exist. */
  peek(key: string, count: number): Promise<RangeRead | null> {
    return this.missing(key, () => this.readRange(key, 0, count));
  }

  /** Returns up to `count` bytes from `from` on. */
  range(key: string, from: number, count: number): Promise<RangeRead> {
    return this.reported('read', 'read', keyDigest(key), () => this.readRange(key, from, count));
  }

  private async readRange(key: string, from: number, count: number): Promise<RangeRead> {
    const { body, bytes: wholeBytes } = await this.ranged(key, from, count);
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk as Uint8Array);
    return { bytes: Buffer.concat(chunks).subarray(0, count), wholeBytes };
  }

  /** Yields the bytes from `from` to the end. It opens a new connection whenever one breaks; all bytes are of one version of the object. */
  async *read(key: string, from: number): AsyncGenerator<Uint8Array> {
    let etag: string | undefined;
    for (let [at, end, breaks] = [from, Infinity, 0]; at < end || end === Infinity;) {
      const before = at;
      const found = await this.reported('read', 'read', keyDigest(key), () => this.ranged(key, at, undefined, etag));
      ({ etag } = found);
      end = found.bytes;
      try {
        for await (const chunk of found.body) {
          at += (chunk as Uint8Array).byteLength;
          yield chunk as Uint8Array;
        }
        if (at >= end) return;
        throw new Error(`the connection ended at byte ${at} of ${end}`);
      } catch (error) {
        breaks = at > before ? 1 : breaks + 1;
        if (breaks >= BREAKS_MAX) {
          const known = toS3Error(error, 'read', keyDigest(key), this.where);
          this.reach.failed('read', known);
          throw known;
        }
        await sleep(FIRST_PAUSE_MS * 4 ** (breaks - 1));
      } finally {
        found.body.destroy();
      }
    }
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    for (let next: string | undefined; ;) {
      const page = await this.reported('read', 'list', null, () =>
        this.client.send(new ListObjectsV2Command({ Bucket: this.bucket, Prefix: prefix, ContinuationToken: next })),
      );
      for (const { Key, Size, LastModified } of page.Contents ?? [])
        if (Key !== undefined) yield { key: Key, bytes: Size ?? 0, changedAt: LastModified ?? new Date(0) };
      if (page.IsTruncated !== true) return;
      next = page.NextContinuationToken;
    }
  }

  /** Removes the object. An object that does not exist is not an error. */
  async remove(key: string): Promise<void> {
    try {
      await this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key }));
    } catch (error) {
      throw toS3Error(error, 'delete', keyDigest(key), this.where); // a policy may forbid removing alone
    }
  }

  async beginUpload(key: string, mediaType: string): Promise<string> {
    const begin = new CreateMultipartUploadCommand({
      Bucket: this.bucket,
      Key: key,
      ContentType: mediaType,
      ChecksumAlgorithm: 'SHA256',
    });
    const { UploadId } = await this.reported('write', 'write', keyDigest(key), () => this.client.send(begin));
    return UploadId!;
  }

  /** Returns the newest upload of the key that was begun and not ended, or null. */
  async openUpload(key: string): Promise<string | null> {
    const found = await this.reported('read', 'list', keyDigest(key), () =>
      this.client.send(new ListMultipartUploadsCommand({ Bucket: this.bucket, Prefix: key })),
    );
    const ours = (found.Uploads ?? []).filter(({ Key, UploadId }) => Key === key && UploadId !== undefined);
    ours.sort((a, b) => (b.Initiated?.getTime() ?? 0) - (a.Initiated?.getTime() ?? 0));
    return ours[0]?.UploadId ?? null;
  }

  /** @throws UploadGone */
  async *uploadedParts(key: string, uploadId: string): AsyncGenerator<UploadedPart> {
    for (let marker: string | undefined; ;) {
      const page = await this.ofUpload(key, 'read', () =>
        this.client.send(new ListPartsCommand({ Bucket: this.bucket, Key: key, UploadId: uploadId, PartNumberMarker: marker })),
      );
      for (const { PartNumber, Size, ETag, ChecksumSHA256 } of page.Parts ?? [])
        yield { number: PartNumber ?? 0, bytes: Size ?? 0, etag: ETag ?? '', sha256: ChecksumSHA256 };
      if (page.IsTruncated !== true || page.NextPartNumberMarker === undefined) return;
      marker = page.NextPartNumberMarker;
    }
  }

  /** Returns the ETag of the part. @throws UploadGone */
  async putPart(key: string, uploadId: string, number: number, bytes: Uint8Array, sha256: string): Promise<string> {
    const part = { Bucket: this.bucket, Key: key, UploadId: uploadId, PartNumber: number, Body: bytes };
    const { ETag } = await this.ofUpload(key, 'write', () =>
      this.client.send(new UploadPartCommand({ ...part, ChecksumAlgorithm: 'SHA256', ChecksumSHA256: sha256 })),
    );
    return ETag ?? '';
  }

  /** @throws ObjectThere, UploadGone */
  async endUpload(key: string, uploadId: string, parts: Part[], onlyIfNew: boolean): Promise<void> {
    const Parts = parts.map(({ number, etag, sha256 }) => ({ PartNumber: number, ETag: etag, ChecksumSHA256: sha256 }));
    const send = (isConditional: boolean): Promise<unknown> =>
      this.client.send(
        new CompleteMultipartUploadCommand({
          Bucket: this.bucket,
          Key: key,
          UploadId: uploadId,
          MultipartUpload: { Parts },
          ...(isConditional ? { IfNoneMatch: '*' } : {}),
        }),
      );
    await this.ofUpload(key, 'write', () => conditional(send, onlyIfNew));
  }

  private async ranged(key: string, from: number, count?: number, etag?: string): Promise<Ranged> {
    const Range = from === 0 && count === undefined ? undefined : `bytes=${from}-${count === undefined ? '' : from + count - 1}`;
    try {
      const found = await this.client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key, Range, IfMatch: etag }));
      const total = /\/(\d+)$/.exec(found.ContentRange ?? '')?.[1];
      const bytes = total === undefined ? (found.ContentLength ?? 0) : Number(total);
      if (from > 0 && !found.ContentRange?.startsWith(`bytes ${from}-`))
        throw new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', `the server gives no parts of objects (${this.where})`, keyDigest(key));
      return { body: found.Body as Readable, bytes, etag: found.ETag };
    } catch (error) {
      const isBeyondEnd = statusOf(error as S3Failure) === 416;
      if (!isBeyondEnd) throw error;
      const whole = await this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key: key }));
      return { body: Readable.from([]), bytes: whole.ContentLength ?? 0, etag: whole.ETag };
    }
  }

  private async ofUpload<T>(key: string, access: Access, work: () => Promise<T>): Promise<T> {
    try {
      return await this.reported(access, access, keyDigest(key), work);
    } catch (error) {
      const cause = (error as Error).cause as S3Failure | undefined;
      const status = cause === undefined ? 0 : statusOf(cause);
      const isOfUpload = ['NoSuchUpload', 'NoSuchKey', 'InvalidPart', 'InvalidPartOrder', 'InvalidRequest'].includes(
        codeNamed(cause ?? {}),
      );
      if (isOfUpload && (status === 400 || status === 404)) throw new UploadGone((error as Error).message, { cause: error });
      throw error;
    }
  }

  /** Returns null if the object is missing, not the bucket: only NoSuchKey proves that. A HEAD's answer does not say it, so a GET asks. */
  private async missing<T>(key: string, work: () => Promise<T>): Promise<T | null> {
    try {
      return await this.reported('read', 'read', keyDigest(key), async () => {
        try {
          return await work();
        } catch (error) {
          if (!['Unknown', 'NotFound', ''].includes(codeNamed(error as S3Failure))) throw error;
          await this.client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key, Range: 'bytes=0-0' }));
          return await work(); // the object was written in between
        }
      });
    } catch (error) {
      if ((error as ArtifactStoreError).code === 'ARTIFACT_MISSING') return null;
      throw error;
    }
  }

  /** Runs a request and tells `reach` whether it worked. A missing object counts as an answer. */
  private async reported<T>(access: Access, action: string, digest: string | null, work: () => Promise<T>): Promise<T> {
    const slow = setTimeout(() => {
      const what = `no answer for ${SLOW_AFTER_MS / 1_000} s`;
      this.reach.failed(access, toS3Error(new Error(what), action, digest, this.where));
    }, SLOW_AFTER_MS).unref();
    try {
      // If a server sent more than it announced, the next answer on the connection can't be read. So the request is repeated once.
      const result = await work().catch((error: unknown) => (isGarbled(error) ? work() : Promise.reject(error as Error)));
      this.reach.worked(access);
      return result;
    } catch (error) {
      const known = error instanceof ObjectThere ? error : toS3Error(error, action, digest, this.where);
      if (known instanceof ObjectThere || isAnswer(error as S3Failure)) this.reach.worked(access);
      else this.reach.failed(access, known);
      throw known;
    } finally {
      clearTimeout(slow);
    }
  }
}

const isGarbled = (error: unknown): boolean => String((error as S3Failure).code).startsWith('HPE_');

/** Returns the SHA-256 as requests carry it, in base64. */
export const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');
