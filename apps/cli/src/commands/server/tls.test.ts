// Tests the certificates that the command line makes, and its messages about problems of TLS.
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServerCredentials } from '@grpc/grpc-js';
import { newAuthority, signedBy, type CertificateWish, type Signed } from '#local-access';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { TestServer } from '../../testing/test-server.js';

const folder = mkdtempSync(join(tmpdir(), 'cli-tls-'));
const nowhere = join(folder, 'none');
afterAll(() => rmSync(folder, { recursive: true }));

const keyOf = (namedCurve: string): string =>
  generateKeyPairSync('ec', { namedCurve }).privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();

describe('tls init and tls renew', () => {
  const dir = join(folder, 'made');
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  const certificate = (name: string): X509Certificate => new X509Certificate(read(name));
  const namesOf = (name: string): string[] => certificate(name).subjectAltName!.split(', ');

  it('make an authority, and certificates for the server and clients that it signed; keys are for their user only', async () => {
    const made = await runCli(['tls', 'init', '--dir', dir, '--names', 'lab.example.org,10.0.0.7', '--json']);
    expect(made).toMatchObject({ exitCode: 0, stderr: '' });
    const { names, valid_until: until } = JSON.parse(made.stdout) as { names: string[]; valid_until: string };
    expect(names).toEqual(expect.arrayContaining(['lab.example.org', '10.0.0.7', 'localhost', '127.0.0.1', '::1']));
    expect(Date.parse(until)).toBeGreaterThan(Date.now() + 396 * 86_400_000);
    const modes = readdirSync(dir).map((name) => [name, statSync(join(dir, name)).mode & 0o077]);
    expect(Object.fromEntries(modes)).toMatchObject({ 'authority.key': 0, 'server.key': 0, 'client.key': 0 });
    const authority = certificate('authority.pem');
    for (const name of ['server.pem', 'client.pem']) expect(certificate(name).verify(authority.publicKey)).toBe(true);
    expect(namesOf('server.pem')).toEqual(expect.arrayContaining(['DNS:lab.example.org', 'IP Address:10.0.0.7', 'DNS:localhost']));
    expect(certificate('client.pem').subjectAltName).toBeUndefined();
    expect(made.stdout).not.toContain('PRIVATE');
  });

  it('keep the authority, and renew the certificates and keys for the same names, or for others', async () => {
    const before = ['authority.pem', 'server.pem', 'server.key', 'client.pem'].map(read);
    expect((await runCli(['tls', 'init', '--dir', dir, '--names', 'other'])).stderr).toMatch(/TLS_FOLDER_TAKEN[^]*espalier tls renew/);
    const names = namesOf('server.pem');
    expect(await runCli(['tls', 'renew', '--dir', dir])).toMatchObject({ exitCode: 0, stderr: '' });
    const after = ['authority.pem', 'server.pem', 'server.key', 'client.pem'].map(read);
    expect(after.map((text, index) => text === before[index])).toEqual([true, false, false, false]);
    expect(namesOf('server.pem')).toEqual(names);
    await runCli(['tls', 'renew', '--dir', dir, '--names', 'new.example.org']);
    expect(namesOf('server.pem')).toContain('DNS:new.example.org');
    expect(namesOf('server.pem')).not.toContain('DNS:lab.example.org');
  });

  it.each([
    [['init', '--dir', join(folder, 'a'), '--names', 'a b'], 2, /OPTION_INVALID: "a b" is not valid for --names/],
    [['init', '--dir', join(folder, 'a'), '--names', 'https://a'], 2, /OPTION_INVALID/],
    [['init', '--dir', join(folder, 'a'), '--names', ''], 2, /OPTION_INVALID/],
    [['init', '--dir', '/proc/no/folder', '--names', 'a'], 2, /TLS_FILES_UNUSABLE/],
    [['renew', '--dir', nowhere], 2, /TLS_FILES_UNUSABLE[^]*espalier tls init/],
  ])('refuse %j', async (args, exitCode, words) => {
    expect(await runCli(['tls', ...args])).toMatchObject({ exitCode, stdout: '', stderr: expect.stringMatching(words) as string });
  });

  it('use no key of an authority that every user can open', async () => {
    chmodSync(join(dir, 'authority.key'), 0o644);
    expect((await runCli(['tls', 'renew', '--dir', dir])).stderr).toMatch(/every user of this machine can open .*authority\.key/);
  });

  it.each([
    ['damaged', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', /authority\.key holds no private key that can be used/],
    ['of another authority', keyOf('prime256v1'), /authority\.key is not the private key of the certificate .*authority\.pem/],
    ['missing', null, /authority\.key holds no private key that can be used: there is no file/],
  ])('use no key of an authority that is %s, and name a way that works', async (_, key, words) => {
    const file = join(dir, 'authority.key');
    rmSync(file, { force: true });
    if (key !== null) writeFileSync(file, key, { mode: 0o600 });
    const before = read('server.pem');
    const renewed = await runCli(['tls', 'renew', '--dir', dir]);
    expect(renewed).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(words) as string });
    expect(renewed.stderr).toMatch(/^error TLS_FILES_UNUSABLE: [^]*put its files back, or make another one in another folder/);
    expect(read('server.pem')).toBe(before);
  });
});

describe('a command that speaks TLS', () => {
  const file = (name: string): string => join(folder, name);
  let authority: Signed;
  const sign = (part: Partial<CertificateWish> = {}, now?: number): Promise<Signed> =>
    signedBy(authority, { subject: 'a server', names: ['localhost', '127.0.0.1'], use: 'server', days: 30, ...part }, now);

  beforeAll(async () => {
    authority = await newAuthority('an authority', 60);
    writeFileSync(file('authority.pem'), authority.certificate);
    writeFileSync(file('other.pem'), (await newAuthority('another', 60)).certificate);
    const client = await sign({ names: [], use: 'client' });
    writeFileSync(file('client.pem'), client.certificate);
    writeFileSync(file('client.key'), client.key, { mode: 0o600 });
    writeFileSync(file('token'), 'espalier_a_b\n', { mode: 0o600 });
  });

  async function answered(
    { certificate, key }: Signed,
    args: string[],
    { asksClients = false, host = 'localhost', env = {} }: { asksClients?: boolean; host?: string; env?: Record<string, string> } = {},
  ): Promise<CliResult> {
    const pair = [{ cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) }];
    const secret = ServerCredentials.createSsl(Buffer.from(authority.certificate), pair, asksClients);
    const server = await TestServer.start({ listRuns: () => ({ runs: [], nextPageToken: '', total: 0 }) }, '127.0.0.1:0', secret);
    const address = `https://${server.address.replace('127.0.0.1', host)}`;
    const result = await runCli(['runs', '--server', address, '--data-folder', nowhere, ...args], { env });
    server.stop();
    return result;
  }
  const known = (): string[] => ['--tls-ca', file('authority.pem')];

  it('knows the server by its authority, by name and by address', async () => {
    for (const host of ['localhost', '127.0.0.1']) {
      expect(await answered(await sign(), known(), { host })).toMatchObject({ exitCode: 0, stderr: '' });
    }
    expect(await answered(await sign(), [], { env: { ESPALIER_TLS_CA: file('authority.pem') } })).toMatchObject({ exitCode: 0 });
  });

  it('says that the authority is unknown, the name wrong, the certificate too old', async () => {
    const failure = (code: string, words = ''): object => ({
      exitCode: 4,
      stderr: expect.stringMatching(new RegExp(`^error ${code}: the server at localhost:\\d+ shows .*${words}`)) as string,
    });
    expect(await answered(await sign(), [])).toMatchObject(failure('TLS_AUTHORITY_UNKNOWN'));
    expect(await answered(await sign(), ['--tls-ca', file('other.pem')])).toMatchObject(failure('TLS_AUTHORITY_UNKNOWN'));
    expect(await answered(await sign({ names: ['lab.example.org'] }), known())).toMatchObject(
      failure('TLS_NAME_WRONG', 'lab\\.example\\.org'),
    );
    const expired = await sign({}, Date.now() - 40 * 86_400_000);
    expect(await answered(expired, known())).toMatchObject(failure('TLS_CERTIFICATE_EXPIRED'));
  });

  it('shows a certificate of its own to a server that asks for one', async () => {
    const env = { ESPALIER_TLS_CLIENT_CERT: file('client.pem'), ESPALIER_TLS_CLIENT_KEY: file('client.key') };
    expect(await answered(await sign(), known(), { asksClients: true, env })).toMatchObject({ exitCode: 0 });
    const refused = await answered(await sign(), known(), { asksClients: true });
    expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/TLS_CLIENT_REFUSED|SERVER_UNAVAILABLE/) as string });
  });

  it('says that a server without TLS speaks none', async () => {
    const server = await TestServer.start({});
    const result = await runCli(['runs', '--server', `https://${server.address}`, '--data-folder', nowhere]);
    server.stop();
    expect(result).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/^error TLS_NOT_SPOKEN/) as string });
  });

  it('takes the token from a file that is for its user only', async () => {
    const server = await TestServer.start({ listRuns: () => ({ runs: [], nextPageToken: '', total: 0 }) });
    const runs = (): Promise<CliResult> =>
      runCli(['runs', '--server', server.address, '--data-folder', nowhere, '--token-file', file('token')]);
    expect(await runs()).toMatchObject({ exitCode: 0 });
    chmodSync(file('token'), 0o644);
    expect(await runs()).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/FILE_UNUSABLE: --token-file: every user/) as string });
    server.stop();
  });

  it.each(['', 'espalier_a_secret\nand more\n', 'espalier_a_secret\x1b[1m'])(
    'shows no secret of a file that holds no token: %j',
    async (text) => {
      writeFileSync(file('no-token'), text, { mode: 0o600 });
      const refused = await runCli(['runs', '--server', '127.0.0.1:1', '--token-file', file('no-token')]);
      expect(refused).toMatchObject({
        exitCode: 2,
        stderr: expect.stringMatching(/FILE_UNUSABLE: --token-file: .* holds no token/) as string,
      });
      expect(refused.stderr).not.toContain('secret');
      if (text === '') return;
      const byVariable = await runCli(['runs', '--server', '127.0.0.1:1'], { env: { ESPALIER_TOKEN: text } });
      expect(byVariable).toMatchObject({
        exitCode: 2,
        stderr: expect.stringMatching(/OPTION_INVALID: ESPALIER_TOKEN holds no token/) as string,
      });
      expect(byVariable.stderr).not.toContain('secret');
    },
  );

  it('names a file that holds no authority', async () => {
    const refused = await runCli(['runs', '--server', 'https://127.0.0.1:1', '--tls-ca', file('client.key')]);
    expect(refused).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/FILE_UNUSABLE: --tls-ca: .*client\.key holds no cert/) as string,
    });
  });
});
