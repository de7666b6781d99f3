// The parts that tests of artifacts in a bucket share.
import { noS3Server, S3_CREDENTIALS, type S3TestServer } from '../../../../libs/artifact-store/src/testing/s3-server.js';

/** Describes artifacts in a bucket. Its tests are skipped on a machine without a server that speaks S3. */
export function describeBucket(tests: () => void): void {
  const title = 'artifacts in a bucket';
  if (noS3Server === null) describe(title, tests);
  else describe.skip(`${title} (skipped: ${noS3Server})`, tests);
}

/** The environment of a server whose artifacts lie below this prefix. */
export const bucketEnvironment = ({ bucket, endpoint }: S3TestServer, prefix: string): Record<string, string> => ({
  ...S3_CREDENTIALS,
  AWS_MAX_ATTEMPTS: '2',
  ESPALIER_ARTIFACTS: `s3://${bucket}/${prefix}`,
  ESPALIER_S3_ENDPOINT: endpoint,
});
