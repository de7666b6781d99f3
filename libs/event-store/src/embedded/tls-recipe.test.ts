// Runs the README's recipe for a separate server with TLS, exactly as it is written there.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { collect, newEvents } from '../contract/tested-server.js';
import { connectEventStore } from '../index.js';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

(hasOpenssl ? describe : describe.skip)('the recipe for TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-recipe-'));
  let server: ChildProcess | undefined;

  afterAll(() => {
    server?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  test('makes a certificate with which the official client writes and reads', async () => {
    const readme = readFileSync(join(ROOT, 'libs/event-store/README.md'), 'utf8');
    const [, openssl, start, address] =
      /## Alone\n\s*(openssl [^]*?)\n\s*ESPALIER_EVENT_STORE_ADMIN_PASSWORD=\S+ node (\S[^\n]*)\n\s*# (\S+)/.exec(readme)!;
    execFileSync('sh', ['-c', openssl!], { cwd: folder, stdio: 'ignore' });
    const words = start!.replace('DIR', 'store').replace('--port 2113', '--port 0').split(' ');
    server = spawn(process.execPath, [join(ROOT, words[0]!), ...words.slice(1)], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ESPALIER_EVENT_STORE_ADMIN_PASSWORD: 'a-password' },
    });
    const [line] = (await once(createInterface({ input: server.stdout! }), 'line')) as [string];
    const { port } = JSON.parse(line) as { port: number };
    const connectionString = address!
      .replace('PASSWORD', 'a-password')
      .replace(':2113', `:${port}`)
      .replace('node.crt', encodeURIComponent(join(folder, 'node.crt')));
    const store = connectEventStore({ connectionString });
    await store.append('run-1', newEvents(2), 'no_stream');
    expect(await collect(store.read('run-1'))).toHaveLength(2);
    await store.close();
  });
});
