import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Metadata, status } from '@grpc/grpc-js';
import { folderMark } from '#files';
import { runningServer } from '../local-server/stack.js';
import { isBroken } from './connection.js';
import { findServer, readServerFile } from './server-address.js';

describe('the token that is shown to a server', () => {
  const dataFolder = mkdtempSync(join(tmpdir(), 'server-address-'));
  beforeAll(() => {
    writeFileSync(join(dataFolder, 'espalier.json'), JSON.stringify({ listen: '127.0.0.1:7500', pid: process.pid }));
    writeFileSync(join(dataFolder, 'token'), 'secret\n');
  });
  afterAll(() => rmSync(dataFolder, { recursive: true }));
  afterEach(() => {
    delete process.env['ESPALIER_TOKEN'];
    delete process.env['ESPALIER_SERVER'];
  });

  it.each([undefined, '127.0.0.1:7500', 'localhost:7500', '[::1]:7500'])(
    'is that of the data folder for its own server, named %s',
    (server) => {
      expect(findServer({ server, dataFolder }).token).toBe('secret');
    },
  );

  it.each(['127.0.0.1:7501', 'example.org:7500', 'unix:/tmp/socket'])('is not given to %s, another server', (server) => {
    expect(findServer({ server, dataFolder }).token).toBeNull();
    process.env['ESPALIER_SERVER'] = server;
    expect(findServer({ dataFolder }).token).toBeNull();
  });

  it('is that of ESPALIER_TOKEN where it is set', () => {
    process.env['ESPALIER_TOKEN'] = 'given';
    expect(findServer({ server: 'https://example.org:7500', dataFolder }).token).toBe('given');
    expect(findServer({ dataFolder }).token).toBe('given');
  });

  it('is that of a file where one is named', () => {
    process.env['ESPALIER_TOKEN'] = 'given';
    writeFileSync(join(dataFolder, 'mine'), 'of the file\n', { mode: 0o600 });
    expect(findServer({ server: '127.0.0.1:7501', dataFolder, tokenFile: join(dataFolder, 'mine') }).token).toBe('of the file');
  });

  it('goes to another machine with TLS, or where the user says that something else encrypts', () => {
    process.env['ESPALIER_TOKEN'] = 'given';
    expect(() => findServer({ server: 'example.org:7500', dataFolder })).toThrow(
      expect.objectContaining({ code: 'TOKEN_UNENCRYPTED', field: '--server' }),
    );
    const found = (server: string) => findServer({ server, dataFolder });
    expect(found('http://example.org:7500')).toMatchObject({ address: 'example.org:7500', token: 'given', tls: null });
    expect(found('https://example.org:7500')).toMatchObject({ address: 'example.org:7500', token: 'given', tls: { name: undefined } });
    expect(found('127.0.0.1:7501')).toMatchObject({ token: 'given', tls: null });
  });
});

describe('a server with TLS that the data folder names', () => {
  const dataFolder = mkdtempSync(join(tmpdir(), 'server-address-'));
  const tls = { authority: 'PEM', name: 'lab.example.org' };
  beforeAll(() => writeFileSync(join(dataFolder, 'espalier.json'), JSON.stringify({ listen: '0.0.0.0:7500', pid: process.pid, tls })));
  afterAll(() => rmSync(dataFolder, { recursive: true }));

  it.each([undefined, 'localhost:7500', 'https://localhost:7500'])('is known by what the folder tells, named %s', (server) => {
    expect(findServer({ server, dataFolder }).tls).toMatchObject({ authority: Buffer.from('PEM'), name: 'lab.example.org' });
  });

  it('is not taken for another', () => {
    expect(findServer({ server: 'localhost:7501', dataFolder }).tls).toBeNull();
    expect(findServer({ server: 'https://localhost:7501', dataFolder }).tls).toMatchObject({ authority: undefined, name: undefined });
  });
});

describe('a data folder', () => {
  const dataFolder = mkdtempSync(join(tmpdir(), 'server-address-'));
  afterAll(() => rmSync(dataFolder, { recursive: true }));

  it('that names no server does not lead to the default address, where another server may listen', () => {
    expect(() => findServer({ dataFolder })).toThrow(expect.objectContaining({ code: 'SERVER_UNAVAILABLE' }));
    expect(findServer({ dataFolder, server: '127.0.0.1:7433' })).toMatchObject({ origin: 'named' });
    process.env['ESPALIER_DATA_FOLDER'] = dataFolder;
    try {
      expect(() => findServer({})).toThrow(dataFolder);
    } finally {
      delete process.env['ESPALIER_DATA_FOLDER'];
    }
  });

  it('that the user does not name, and that names no server, leads to the default address', () => {
    const before = process.cwd();
    process.chdir(dataFolder);
    try {
      expect(findServer({})).toMatchObject({ address: '127.0.0.1:7433', origin: 'default' });
    } finally {
      process.chdir(before);
    }
  });

  it.each([JSON.stringify({ pid: 7 }), '', '{"listen":'])('whose server starts (%s) does not: another one may listen there', (written) => {
    writeFileSync(join(dataFolder, 'espalier.json'), written);
    expect(() => findServer({ dataFolder })).toThrow(expect.objectContaining({ code: 'SERVER_UNAVAILABLE' }));
    expect(findServer({ dataFolder, server: 'example.org:7500' })).toMatchObject({ address: 'example.org:7500', token: null });
  });
});

describe('a copy of a data folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'server-address-'));
  const [original, copy] = [join(folder, 'original'), join(folder, 'copy')];
  const listen = '127.0.0.1:7500';
  beforeAll(() => {
    mkdirSync(original);
    writeFileSync(join(original, 'espalier.json'), JSON.stringify({ listen, pid: process.pid, folder: folderMark(original) }));
    writeFileSync(join(original, 'token'), 'secret\n');
    cpSync(original, copy, { recursive: true });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("leads to no server: not to the original's process, nor to its address, and its token is shown to none", () => {
    expect(readServerFile(original)).toMatchObject({ listen, pid: process.pid });
    expect([readServerFile(copy), runningServer(copy)]).toEqual([null, null]);
    expect(() => findServer({ dataFolder: copy })).toThrow(expect.objectContaining({ code: 'SERVER_UNAVAILABLE' }));
    expect(findServer({ dataFolder: copy, server: listen }).token).toBeNull();
  });

  it('is not what a renamed folder is', () => {
    const renamed = join(folder, 'renamed');
    renameSync(original, renamed);
    expect(findServer({ dataFolder: renamed })).toMatchObject({ address: listen, token: 'secret' });
    renameSync(renamed, original);
  });
});

test('a call that broke where something was written is a lost server, an error of the server itself is none', () => {
  const failed = (code: status, details: string) =>
    isBroken(Object.assign(new Error(details), { code, details, metadata: new Metadata() }));
  expect(failed(status.INTERNAL, 'Received RST_STREAM with code 2 triggered by internal client error: write EPIPE')).toBe(true);
  expect(failed(status.INTERNAL, 'a defect')).toBe(false);
});
