import { availableParallelism } from 'node:os';
import { parseConfig } from './config.js';

const parsed = (...args: string[]) => parseConfig(['node', 'orchestrator', ...args]);
const TLS = ['--tls-cert', '/a/cert.pem', '--tls-key', '/a/key.pem'];

describe('an address beyond this machine', () => {
  it.each([['--listen'], ['--web']])(
    'is refused at %s, unless the server speaks TLS or the user says that something else encrypts',
    (option) => {
      expect(() => parsed(option, '0.0.0.0:7433')).toThrow(expect.objectContaining({ code: 'ADDRESS_INSECURE', field: option }) as Error);
      expect(parsed(option, '0.0.0.0:7433', ...TLS).tls).toMatchObject({ certFile: '/a/cert.pem', keyFile: '/a/key.pem' });
      expect(parsed(option, '0.0.0.0:7433', '--allow-insecure-remote').tls).toBeUndefined();
      expect(() => parsed(option, '0.0.0.0:7433', ...TLS, '--open-loopback')).toThrow(
        expect.objectContaining({ code: 'ADDRESS_INSECURE' }),
      );
    },
  );

  it('is refused for an engine, which speaks no TLS', () => {
    expect(() => parsed('--engine', '10.0.0.1:7500', ...TLS)).toThrow(expect.objectContaining({ code: 'ADDRESS_INSECURE' }) as Error);
  });
});

it('other machines do not reach an open port of this machine', () => {
  expect(() => parsed('--listen', '0.0.0.0:0', '--allow-insecure-remote', '--open-loopback')).toThrow(
    expect.objectContaining({ code: 'ADDRESS_INSECURE', field: '--listen' }) as Error,
  );
});

describe('the engines of a server', () => {
  const CORES = availableParallelism();

  it.each([
    [
      'more than the machine has cores',
      ['--engines', String(CORES + 1)],
      `are more than this machine has cores: 0 to ${CORES} are allowed`,
    ],
    ['an address without a port', ['--engine', 'nonsense'], '"nonsense" '],
    ['an address twice', ['--engine', '127.0.0.1:9,127.0.0.1:9'], '127.0.0.1:9 is named twice'],
    ['another number of devices', ['--engines', '1', '--device', 'cpu,auto'], '2 are named for 1 engines'],
  ])('are not %s', (_, args, why) => {
    expect(() => parsed(...args)).toThrow(why);
  });
});

it.each([
  ['--tls-key', ['--tls-cert', 'a']],
  ['--tls-cert', ['--tls-key', 'a']],
  ['--tls-cert', ['--tls-client-ca', 'a']],
])('%s is needed beside %j', (field, args) => {
  expect(() => parsed(...args)).toThrow(expect.objectContaining({ code: 'FIELD_REQUIRED', field }) as Error);
});

describe('the place of the artifacts', () => {
  const S3 = ['--artifacts', 's3://lab-artifacts/espalier/x/', '--data-folder', '/data'];

  it('is a folder, or a bucket with a prefix and a cache in the data folder', () => {
    expect(parsed('--data-folder', '/data')).toMatchObject({
      artifactFolder: '/data/artifacts',
      bucket: undefined,
      sharesArtifacts: false,
    });
    expect(parsed(...S3)).toMatchObject({
      artifactFolder: '/data/artifact-cache',
      sharesArtifacts: true,
      bucket: {
        bucket: 'lab-artifacts',
        prefix: 'espalier/x/',
        endpoint: undefined,
        cacheFolder: '/data/artifact-cache',
        cacheBytes: 20 * 1024 ** 3,
      },
    });
    const own = parsed('--artifacts', 's3://lab', '--s3-endpoint', 'http://127.0.0.1:9000', '--s3-region', 'here', '--s3-cache', '1.5GB');
    expect(own.bucket).toMatchObject({ bucket: 'lab', prefix: '', endpoint: 'http://127.0.0.1:9000', region: 'here', cacheBytes: 1.5e9 });
  });

  it.each([
    ['ftp://lab/espalier', /"ftp:\/\/lab\/espalier" is neither a folder nor a bucket/],
    ['s3://', /"" is not a bucket name/],
    ['s3://Lab', /"Lab" is not a bucket name/],
    ['s3://lab/a//b', /"a\/\/b" is not a prefix/],
    ['s3://lab/../b', /"\.\.\/b" is not a prefix/],
  ])('is refused where %s names no bucket', (address, why) => {
    expect(() => parsed('--artifacts', address)).toThrow(
      expect.objectContaining({
        code: 'ARTIFACT_STORE_ADDRESS_INVALID',
        field: '--artifacts',
        message: expect.stringMatching(why) as string,
      }) as Error,
    );
  });

  it.each([
    ['minio.lab:9000', 'ARTIFACT_STORE_ADDRESS_INVALID'],
    ['https://user:secret@minio.lab', 'ARTIFACT_STORE_ADDRESS_INVALID'],
    ['ftp://minio.lab', 'ARTIFACT_STORE_ADDRESS_INVALID'],
    ['http://minio.lab:9000', 'ADDRESS_INSECURE'],
  ])('is refused with the endpoint %s', (endpoint, code) => {
    expect(() => parsed(...S3, '--s3-endpoint', endpoint)).toThrow(expect.objectContaining({ code, field: '--s3-endpoint' }) as Error);
  });

  it('takes an endpoint without TLS where the user says that something else encrypts', () => {
    expect(parsed(...S3, '--s3-endpoint', 'http://minio.lab:9000', '--allow-insecure-remote').bucket?.endpoint).toBe(
      'http://minio.lab:9000',
    );
  });

  it('must be a bucket beside an endpoint or a region', () => {
    expect(() => parsed('--s3-region', 'eu-central-1')).toThrow(
      expect.objectContaining({ code: 'FIELD_REQUIRED', field: '--artifacts' }) as Error,
    );
  });
});
