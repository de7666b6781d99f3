// Signs addresses of objects, by which a machine without credentials can read and write them for some minutes.
import { GetObjectCommand, PutObjectCommand, UploadPartCommand, type S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { keyDigest, toS3Error } from './s3-errors.js';

/** An address is used at once, but a large state may wait for its turn behind others. */
const SIGNED_FOR_SECONDS = 900;
const SUM_HEADER = 'x-amz-checksum-sha256';

/** A request that a machine without credentials can send. */
export interface SignedRequest {
  url: string;
  headers: Record<string, string>;
}

export class S3Signing {
  constructor(
    private readonly client: S3Client,
    private readonly bucket: string,
    /** The address of the bucket, for messages. */
    private readonly where: string,
  ) {}

  /** Returns an address by which the object can be read without credentials, for some minutes. */
  read(key: string): Promise<string> {
    const get = new GetObjectCommand({ Bucket: this.bucket, Key: key });
    return this.signed(key, (options) => getSignedUrl(this.client, get, options));
  }

  async put(key: string, sha256: string, mediaType: string): Promise<SignedRequest> {
    const put = new PutObjectCommand({ Bucket: this.bucket, Key: key, ContentType: mediaType, ChecksumSHA256: sha256 });
    const url = await this.signed(key, (options) => getSignedUrl(this.client, put, options));
    return { url, headers: { [SUM_HEADER]: sha256, 'content-type': mediaType } };
  }

  async part(key: string, uploadId: string, number: number, sha256: string): Promise<SignedRequest> {
    const part = { Bucket: this.bucket, Key: key, UploadId: uploadId, PartNumber: number, ChecksumSHA256: sha256 };
    const url = await this.signed(key, (options) => getSignedUrl(this.client, new UploadPartCommand(part), options));
    return { url, headers: { [SUM_HEADER]: sha256 } };
  }

  /** The sum of the bytes stays a header, and is signed: a bucket that keeps sums refuses other bytes. */
  private async signed(key: string, sign: (options: Parameters<typeof getSignedUrl>[2]) => Promise<string>): Promise<string> {
    try {
      return await sign({ expiresIn: SIGNED_FOR_SECONDS, unhoistableHeaders: new Set([SUM_HEADER]) });
    } catch (error) {
      throw toS3Error(error, 'sign an address of', keyDigest(key), this.where);
    }
  }
}
