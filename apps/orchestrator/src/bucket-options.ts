// The options of a server that keeps its artifacts in a bucket. Credentials are not options, since every list of processes would show them.
import { InvalidArgumentError, Option } from 'commander';
import { join } from 'node:path';
import { isS3Address, parseS3Address, s3AddressProblem, type S3Location } from '#artifact-store';
import { typedNumber } from '#comparison';
import { isLoopbackAddress } from '#local-access';
import { invalidField } from '#protocol';

const CACHE_BYTES = 20 * 1024 ** 3;
/** The cache's folder in the data folder. */
const CACHE_FOLDER = 'artifact-cache';

export interface BucketOptions {
  s3Endpoint?: string | undefined;
  s3Region?: string | undefined;
  s3Cache?: number | undefined;
}

export function bucketOptions(): Option[] {
  return [
    new Option('--s3-endpoint <url>', 'with --artifacts s3://..., the address of a server that speaks S3 (default: AWS)').env(
      'ESPALIER_S3_ENDPOINT',
    ),
    new Option('--s3-region <name>', 'the region of the bucket (default: AWS_REGION, or the region of the profile)').env(
      'ESPALIER_S3_REGION',
    ),
    new Option('--s3-cache <bytes>', 'files of the bucket that this machine keeps, e.g. 200GB (default: 20GiB)')
      .env('ESPALIER_S3_CACHE')
      .argParser(byteCount),
  ];
}

/**
 * Returns undefined where `artifacts` names a folder or is absent.
 * @throws EspalierError ARTIFACT_STORE_ADDRESS_INVALID, ADDRESS_INSECURE, FIELD_REQUIRED
 */
export function bucketOf(
  artifacts: string | undefined,
  { s3Endpoint, s3Region, s3Cache = CACHE_BYTES }: BucketOptions,
  { dataFolder, allowInsecureRemote }: { dataFolder: string; allowInsecureRemote: boolean },
): S3Location | undefined {
  if (artifacts === undefined || !isS3Address(artifacts)) {
    if (/^\w[\w+.-]*:\/\//.test(artifacts ?? '')) {
      const problem = `"${artifacts}" is neither a folder nor a bucket, s3://BUCKET/PREFIX`;
      throw invalidField('ARTIFACT_STORE_ADDRESS_INVALID', '--artifacts', problem);
    }
    if (s3Endpoint || s3Region)
      throw invalidField('FIELD_REQUIRED', '--artifacts', 'must name a bucket, s3://BUCKET/PREFIX, beside --s3-endpoint and --s3-region');
    return undefined;
  }
  const problem = s3AddressProblem(artifacts);
  if (problem !== null) throw invalidField('ARTIFACT_STORE_ADDRESS_INVALID', '--artifacts', problem);
  if (s3Endpoint) requireEndpoint(s3Endpoint, allowInsecureRemote);
  const place = { ...parseS3Address(artifacts), cacheFolder: join(dataFolder, CACHE_FOLDER), cacheBytes: s3Cache };
  return { ...place, endpoint: s3Endpoint || undefined, region: s3Region || undefined };
}

function requireEndpoint(endpoint: string, allowInsecureRemote: boolean): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  const isPlain = url?.protocol === 'http:';
  if (url === null || !(isPlain || url.protocol === 'https:') || url.username !== '' || url.search !== '' || url.hash !== '')
    throw invalidField('ARTIFACT_STORE_ADDRESS_INVALID', '--s3-endpoint', 'is not an address such as https://HOST or https://HOST:PORT');
  if (!isPlain || allowInsecureRemote || isLoopbackAddress(`${url.hostname}:${url.port || '80'}`)) return;
  const why = `${endpoint} is beyond this machine, and nothing is encrypted; use https, or say --allow-insecure-remote`;
  throw invalidField('ADDRESS_INSECURE', '--s3-endpoint', why);
}

function byteCount(text: string): number {
  try {
    const bytes = typedNumber({ share: false, unit: 'bytes' }, text);
    if (bytes >= 0) return bytes;
  } catch {
    // reported below
  }
  throw new InvalidArgumentError('Write a number of bytes, e.g. 200GB.');
}
