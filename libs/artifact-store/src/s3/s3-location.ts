// Reads the address of artifacts in a bucket, s3://BUCKET/PREFIX, as the command line and its environment name it.

export interface S3Location {
  bucket: string;
  /** '' or a text that ends with a slash. */
  prefix: string;
  /** The address of a server that speaks S3; undefined: AWS. */
  endpoint?: string | undefined;
  region?: string | undefined;
  /** A folder of this machine for artifacts that are being written and for artifacts that were used lately. */
  cacheFolder: string;
  cacheBytes: number;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** Characters that every server accepts in a key without encoding. */
const PREFIX = /^[\w!.*'()-]+(\/[\w!.*'()-]+)*$/;

export const isS3Address = (text: string): boolean => text.startsWith('s3://');

/** Returns the problem with an address; null: the address is valid. */
export function s3AddressProblem(address: string): string | null {
  const { bucket, prefix } = split(address);
  if (!BUCKET.test(bucket)) return `"${bucket}" is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens are allowed`;
  const names = prefix.split('/');
  if (prefix === '' || (PREFIX.test(prefix) && !names.includes('.') && !names.includes('..'))) return null;
  return `"${prefix}" is not a prefix: names of letters, digits and -_.!*'() with single slashes between them are allowed`;
}

/** @param address an address without a problem (`s3AddressProblem`) */
export function parseS3Address(address: string): Pick<S3Location, 'bucket' | 'prefix'> {
  const { bucket, prefix } = split(address);
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}

export const s3Address = ({ bucket, prefix }: Pick<S3Location, 'bucket' | 'prefix'>): string =>
  `s3://${bucket}${prefix === '' ? '' : `/${prefix.slice(0, -1)}`}`;

function split(address: string): { bucket: string; prefix: string } {
  const [bucket = '', ...rest] = address.slice('s3://'.length).replace(/\/$/, '').split('/');
  return { bucket, prefix: rest.join('/') };
}
