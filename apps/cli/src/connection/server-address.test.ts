import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServer } from './server-address.js';

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
    expect(findServer({ server: 'example.org:7500', dataFolder }).token).toBe('given');
    expect(findServer({ dataFolder }).token).toBe('given');
  });
});
