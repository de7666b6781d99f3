// Tests a server's certificate: how it is made, what can be wrong with its files, and how new files come into use.
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectPlain, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { writeOwnFile } from '#files';
import { newAuthority, openDoor, signedBy, TlsIdentity, type Door, type Refusal, type Signed } from '#local-access';

const NAMES = ['localhost', '127.0.0.1'];
const folder = mkdtempSync(join(tmpdir(), 'tls-identity-'));
const file = (name: string): string => join(folder, name);
const FILES = { certFile: file('server.pem'), keyFile: file('server.key') };
let authority: Signed;

const sign = (names = NAMES, now?: number): Promise<Signed> =>
  signedBy(authority, { subject: 'a server', names, use: 'server', days: 30 }, now);

function place(name: string, { certificate, key }: Signed): void {
  writeFileSync(file(`${name}.pem`), certificate);
  writeOwnFile(file(`${name}.key`), key);
}

beforeAll(async () => {
  authority = await newAuthority('an authority', 60);
  place('authority', authority);
});
beforeEach(async () => place('server', await sign()));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the files of an identity', () => {
  it('tell for which names it is, until when, and which authority came along', async () => {
    const server = await sign(['lab.example.org', '10.0.0.7', '::1']);
    place('server', { ...server, certificate: `${server.certificate}\n${authority.certificate}` });
    const identity = new TlsIdentity(FILES);
    expect(['lab.example.org', '10.0.0.7', '::1', 'example.org', '10.0.0.8'].map((host) => identity.isFor(host))).toEqual([
      ...[true, true, true],
      ...[false, false],
    ]);
    expect(identity.name).toBe('lab.example.org');
    expect(identity.authority.trim()).toBe(authority.certificate.trim());
    expect(identity.end.getTime()).toBeGreaterThan(Date.now() + 29 * 86_400_000);
  });

  it('are valid no longer than the authority', async () => {
    const short = await newAuthority('a short authority', 3);
    place('server', await signedBy(short, { subject: 'a server', names: NAMES, use: 'server', days: 397 }));
    expect(new TlsIdentity(FILES).end.getTime()).toBeLessThan(Date.now() + 4 * 86_400_000);
  });

  it.each<[string, () => Promise<void> | void, RegExp]>([
    ['a key of another certificate', async () => writeFileSync(FILES.keyFile, (await sign()).key), /server\.key is not the private key/],
    ['a key that every user can open', () => chmodSync(FILES.keyFile, 0o644), /every user of this machine can open .*server\.key/],
    ['no key', () => rmSync(FILES.keyFile), /server\.key/],
    ['a file without a certificate', () => writeFileSync(FILES.certFile, 'words'), /server\.pem holds no certificate/],
  ])('are refused with %s, and the old ones stay in use', async (_, damage, words) => {
    const identity = new TlsIdentity(FILES);
    const { end } = identity;
    await damage();
    expect(() => new TlsIdentity(FILES)).toThrow(words);
    expect(() => identity.lookAgain()).toThrow(words);
    expect(identity.end).toEqual(end);
  });

  it('are refused with a file of clients’ authorities that holds none', () => {
    writeFileSync(file('none.pem'), 'words');
    expect(() => new TlsIdentity({ ...FILES, clientCaFile: file('none.pem') })).toThrow(/none\.pem holds no certificate/);
  });
});

describe('a door with TLS', () => {
  const ends: Socket[] = [];
  const doors: Door[] = [];
  const refused: Refusal[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end.destroy();
    for (const door of doors.splice(0)) door.close();
    refused.length = 0;
  });

  /** Opens a door that says "hello" to each client that it admits, and echoes what the client sends. */
  async function open(identity: TlsIdentity): Promise<Door> {
    const listener = createServer((socket) => {
      ends.push(socket);
      socket.write('hello');
      socket.pipe(socket);
    });
    const options = { host: '127.0.0.1', port: 0, admits: () => true, otherMachines: false };
    const door = await openDoor(listener, {
      ...options,
      tls: { identity, protocol: 'echo' },
      onRefused: (refusal) => refused.push(refusal),
    });
    doors.push(door);
    return door;
  }

  /** Returns the server's first words, the client's error, or "closed". */
  async function greeting({ port }: Door, options: ConnectionOptions = {}): Promise<{ socket: TLSSocket; heard: string }> {
    const socket = connect({
      host: '127.0.0.1',
      servername: 'localhost',
      port,
      ca: authority.certificate,
      ALPNProtocols: ['echo'],
      ...options,
    });
    ends.push(socket);
    const heard = await new Promise<string>((resolve) => {
      socket.once('data', (bytes) => resolve(String(bytes)));
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code!));
      socket.once('close', () => resolve('closed'));
    });
    return { socket, heard };
  }

  async function told(count: number): Promise<void> {
    while (refused.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  it('gives new connections the new certificate, and leaves those alone that are open', async () => {
    const identity = new TlsIdentity(FILES);
    const door = await open(identity);
    const before = await greeting(door);
    expect(before.heard).toBe('hello');
    place('server', await sign());
    expect([identity.lookAgain(), identity.lookAgain()]).toEqual([true, false]);
    const after = await greeting(door);
    const serial = ({ socket }: { socket: TLSSocket }): string => socket.getPeerCertificate().serialNumber;
    expect(serial(after)).not.toBe(serial(before));
    before.socket.write('still here');
    expect(String((await once(before.socket, 'data'))[0])).toBe('still here');
  });

  it('refuses a client without TLS, and one that does not know the authority, and serves the next', async () => {
    const door = await open(new TlsIdentity(FILES));
    const plain = connectPlain({ port: door.port, host: '127.0.0.1' });
    ends.push(plain.on('error', () => undefined).resume());
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await once(plain, 'close');
    const other = await newAuthority('an authority', 60);
    expect((await greeting(door, { ca: other.certificate })).heard).toMatch(/CERT_SIGNATURE_FAILURE|UNABLE_TO_VERIFY|SELF_SIGNED/);
    await told(1);
    expect(refused[0]).toMatchObject({ why: 'no-tls', problem: 'ERR_SSL_HTTP_REQUEST' });
    expect((await greeting(door)).heard).toBe('hello');
  });

  it('asks clients for a certificate of the authority that it is given', async () => {
    const door = await open(new TlsIdentity({ ...FILES, clientCaFile: file('authority.pem') }));
    const client = await signedBy(authority, { subject: 'a client', use: 'client', days: 30 });
    const foreign = await signedBy(await newAuthority('an authority', 60), { subject: 'a client', use: 'client', days: 30 });
    const shown = ({ certificate, key }: Signed): ConnectionOptions => ({ cert: certificate, key });
    expect((await greeting(door, shown(client))).heard).toBe('hello');
    // The alert that names the reason may be lost with the connection.
    for (const options of [{}, shown(foreign), shown(await sign())])
      // a server's certificate is not accepted from a client
      expect((await greeting(door, options)).heard).toMatch(/ALERT|ECONNRESET|EPIPE|closed/);
    expect((await greeting(door, shown(client))).heard).toBe('hello');
  });

  it('shows a certificate that has ended, so that clients can say what is wrong', async () => {
    place('server', await sign(NAMES, Date.now() - 40 * 86_400_000));
    const door = await open(new TlsIdentity(FILES));
    expect((await greeting(door)).heard).toBe('CERT_HAS_EXPIRED');
  });
});
