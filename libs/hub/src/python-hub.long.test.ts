// Holds our requests and our cache against those of the hub's own program, Python's huggingface_hub, on one server. ESPALIER_PYTHON names a
// Python that has it (python3 otherwise).
import { execFile, spawnSync } from 'node:child_process';
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchName, hubName } from '#hub';
import { TestHub } from './testing/test-hub.js';

const PYTHON = process.env['ESPALIER_PYTHON'] ?? 'python3';
const isThere = spawnSync(PYTHON, ['-c', 'import huggingface_hub']).status === 0;
const README = '---\nconfigs:\n- config_name: raw\n  data_files: [{ split: train, path: raw/train-* }]\n---\n';
const WEIGHTS = Buffer.alloc(200_000, 'weights ');

(isThere ? describe : describe.skip)("the hub's own program", () => {
  let hub: TestHub;
  let folder: string;
  const home = (name: string): string => join(folder, name);
  beforeAll(async () => {
    hub = await TestHub.start();
    folder = await mkdtemp(join(tmpdir(), 'hub-'));
    hub.put('models/org/model', { 'config.json': '{}', 'tokenizer.json': '[]', 'README.md': '#', 'model.safetensors': WEIGHTS });
    hub.put('datasets/org/text', { 'README.md': README, 'raw/train-00000-of-00001.jsonl': '{"text":"a"}\n' });
  });
  afterAll(async () => {
    await hub.stop();
    await rm(folder, { recursive: true });
  });

  const byPython = async (home: string, offline = ''): Promise<string[]> => {
    const code = [
      'from huggingface_hub import snapshot_download',
      "print(snapshot_download('org/model'))",
      "print(snapshot_download('org/text', repo_type='dataset'))",
    ].join('\n');
    const env = {
      PATH: process.env['PATH'],
      HF_HOME: home,
      HF_ENDPOINT: hub.address,
      HF_HUB_OFFLINE: offline,
      HF_HUB_DISABLE_TELEMETRY: '1',
    };
    return (await promisify(execFile)(PYTHON, ['-c', code], { env })).stdout.trim().split('\n');
  };
  const byUs = async (home: string, offline = ''): Promise<string[]> => {
    const env = { HF_HOME: home, HF_ENDPOINT: hub.address, HF_HUB_OFFLINE: offline };
    const model = await fetchName(hubName('org/model', 'model')!, { env });
    const text = await fetchName(hubName('org/text:raw:train', 'dataset')!, { env });
    return [...model.paths, ...text.paths];
  };
  const asked = (): string[] => {
    // Python asks for the head of each file first, so that it sees where the bytes are. We follow to that place at once.
    const all = hub.requests.splice(0).map(({ path, hasToken }) => `${path}${hasToken ? ' with the token' : ''}`);
    return [...new Set(all)].sort();
  };
  /** The blobs, links and revisions of a cache, without the files that Python keeps for itself. */
  const cacheOf = (home: string): string[] =>
    readdirSync(join(home, 'hub'), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\/(blobs|refs|snapshots)\//.test(path))
      .map((path) => {
        const whole = join(home, 'hub', path);
        return lstatSync(whole).isSymbolicLink() ? `${path} -> ${readlinkSync(whole)}` : path;
      })
      .sort();

  test('asks for the same and leaves the same cache', async () => {
    await byPython(home('python'));
    const theirs = asked();
    await byUs(home('ours'));
    expect(asked()).toEqual(theirs);
    expect(cacheOf(home('ours'))).toEqual(cacheOf(home('python')));
  });

  test('reads our cache, and we read its one, without asking the hub', async () => {
    await byPython(home('ours'), '1');
    await byUs(home('python'), '1');
    expect(asked()).toEqual([]);
  });

  test('shows the token in the same requests', async () => {
    for (const name of ['theirs', 'own']) {
      await byUs(home(`${name}-login`)); // makes the folder
      await rm(join(home(`${name}-login`), 'hub'), { recursive: true });
      await writeFile(join(home(`${name}-login`), 'token'), 'hf_secret');
    }
    asked();
    await byPython(home('theirs-login'));
    const theirs = asked();
    await byUs(home('own-login'));
    expect(theirs.filter((one) => one.includes('with the token')).length).toBeGreaterThan(4);
    expect(asked()).toEqual(theirs);
  });
});
