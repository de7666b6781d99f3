// Tests the fetching of models and texts from a server that speaks the hub's protocol.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchName, type Fetched, type FetchOptions, HubError, hubName } from '#hub';
import { gitDigest, sha256, TestHub } from './testing/test-hub.js';

const WEIGHTS = Buffer.alloc(200_000, 'weights ');
const MODEL = {
  'config.json': '{"model_type":"llama"}',
  'tokenizer.json': '{}',
  'README.md': '# A model',
  'modeling_own.py': 'raise SystemExit',
  'pytorch_model.bin': Buffer.alloc(3_000, 'pickle'),
  'onnx/model.safetensors': Buffer.alloc(3_000, 'other'),
  'model.safetensors': WEIGHTS,
};
let hub: TestHub;
let home: string;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'hub-'));
  hub.requests.length = 0;
  hub.behaviour = {};
});
afterEach(() => rm(home, { recursive: true, force: true }));

const fetchOf = (
  text: string,
  kind: 'model' | 'dataset',
  options: FetchOptions & { env?: Record<string, string> } = {},
): Promise<Fetched> =>
  fetchName(hubName(text, kind)!, { pauseMs: 1, ...options, env: { HF_ENDPOINT: hub.address, HF_HOME: home, ...options.env } });
const problemOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (one: unknown) => one,
  );
  return error instanceof HubError ? `${error.code}: ${error.message}` : `no HubError: ${String(error)}`;
};
const bytesAsked = (): (string | undefined)[] => hub.requests.filter(({ path }) => path.startsWith('/lfs/')).map(({ range }) => range);

test("a model lies in the cache in the layout of the hub's own programs, without programs and other forms of weights", async () => {
  const commit = hub.put('models/org/model', MODEL);
  const { paths, commit: found } = await fetchOf('org/model', 'model');
  const folder = join(home, 'hub/models--org--model');
  expect([paths, found]).toEqual([[join(folder, 'snapshots', commit)], commit]);
  expect(readdirSync(paths[0]!).sort()).toEqual(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']);
  expect(readFileSync(join(folder, 'refs/main'), 'utf8')).toBe(commit);
  expect(readlinkSync(join(paths[0]!, 'model.safetensors'))).toBe(`../../blobs/${sha256(WEIGHTS)}`);
  expect(readlinkSync(join(paths[0]!, 'config.json'))).toBe(`../../blobs/${gitDigest(Buffer.from(MODEL['config.json']))}`);
  expect(readFileSync(join(paths[0]!, 'model.safetensors'))).toEqual(WEIGHTS);
});

test('the index names which files of weights are fetched', async () => {
  const index = JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } });
  hub.put('models/org/sharded', {
    ...MODEL,
    'model.safetensors.index.json': index,
    'model-1.safetensors': 'a',
    'model-2.safetensors': 'b',
  });
  const { paths } = await fetchOf('org/sharded', 'model');
  expect(readdirSync(paths[0]!).filter((name) => name.endsWith('.safetensors'))).toEqual(['model-1.safetensors', 'model-2.safetensors']);
});

test('a connection that is cut goes on where it ended, and so does a later fetch', async () => {
  hub.put('models/org/model', MODEL);
  hub.behaviour = { cutAfter: [50_000, 30_000] };
  const shares: number[] = [];
  const { paths } = await fetchOf('org/model', 'model', { onProgress: (done, all) => shares.push(done / all) });
  expect(bytesAsked()).toEqual([undefined, 'bytes=50000-', 'bytes=80000-']);
  expect(readFileSync(join(paths[0]!, 'model.safetensors'))).toEqual(WEIGHTS);
  expect(shares.at(-1)).toBe(1);
  expect(Math.max(...shares)).toBe(1);

  await rm(home, { recursive: true });
  const blobs = join(home, 'hub/models--org--model/blobs');
  await mkdir(blobs, { recursive: true });
  await writeFile(join(blobs, `${sha256(WEIGHTS)}.incomplete`), WEIGHTS.subarray(0, 120_000));
  hub.requests.length = 0;
  await fetchOf('org/model', 'model');
  expect(bytesAsked()).toEqual(['bytes=120000-']);
});

test('a snapshot that was cut off is not taken for a whole one', async () => {
  hub.put('models/org/model', MODEL);
  hub.behaviour = { cutAfter: Array<number>(30).fill(0) };
  expect(await problemOf(fetchOf('org/model', 'model'))).toMatch(
    /^HUB_UNREACHABLE: model\.safetensors was cut off after 0 of 200000 bytes/,
  );
  expect(readdirSync(join(home, 'hub/models--org--model'))).toEqual(['blobs']);
});

test('bytes with another digest are fetched again, and refused the second time', async () => {
  hub.put('models/org/model', MODEL);
  hub.behaviour = { damaged: { path: sha256(WEIGHTS), times: 1 } };
  const { paths } = await fetchOf('org/model', 'model');
  expect(readFileSync(join(paths[0]!, 'model.safetensors'))).toEqual(WEIGHTS);

  await rm(home, { recursive: true });
  hub.behaviour = { damaged: { path: 'config.json', times: 2 } };
  expect(await problemOf(fetchOf('org/model', 'model'))).toMatch(/^HUB_FILE_DAMAGED: config\.json came twice with the digest/);
  expect(readdirSync(join(home, 'hub/models--org--model/blobs')).filter((name) => name.endsWith('.incomplete'))).not.toContain(
    `${gitDigest(Buffer.from(MODEL['config.json']))}.incomplete`,
  );
});

test('a hub that is busy is asked again after the pause that it names', async () => {
  hub.put('models/org/model', MODEL);
  hub.behaviour = { first: [{ status: 429, headers: { 'retry-after': '0' } }, { status: 503 }] };
  const waits: string[] = [];
  await fetchOf('org/model', 'model', { onWait: (words) => waits.push(words) });
  expect(waits).toEqual([expect.stringContaining('status 429; the request is made again in 0 s'), expect.stringContaining('status 503')]);
});

test('the token is shown to the hub, and not to the server that it redirects to', async () => {
  hub.put('models/org/secret', MODEL);
  hub.behaviour = { token: 'hf_right' };
  expect(await problemOf(fetchOf('org/secret', 'model'))).toMatch(/^HUB_NOT_FOUND: .* or it is private: with HF_TOKEN/);
  expect(await problemOf(fetchOf('org/secret', 'model', { env: { HF_TOKEN: 'hf_wrong' } }))).toMatch(
    /^HUB_ACCESS_DENIED: .*token of HF_TOKEN/,
  );
  hub.behaviour = { token: 'hf_right' };
  hub.requests.length = 0;
  await writeFile(join(home, 'token'), 'hf_right\n'); // as the hub's own login keeps it
  await fetchOf('org/secret', 'model');
  expect(hub.requests.every(({ path, hasToken }) => hasToken !== path.startsWith('/lfs/'))).toBe(true);
});

test.each([
  ['a repository that is not there', 'org/none', /^HUB_NOT_FOUND: .* has no model org\/none, or it is private/],
  ['a revision that is not there', 'org/model@v9', /^HUB_NOT_FOUND: .* has no model org\/model at v9/],
  ['a revision that is a path', 'org/model@../..', /^HUB_NOT_FOUND: "\.\." is no name of a revision/],
  ['a repository without safetensors', 'org/pickle', /^HUB_NOT_FOUND: org\/pickle has no weights as safetensors at its top/],
  ['a repository without a model', 'org/empty', /^HUB_NOT_FOUND: org\/empty has no config\.json/],
  ['an index that leads out of the folder', 'org/astray', /^HUB_ANSWER_INVALID: .* names "\.\.\/\.\.\/x\.safetensors", which is no file/],
])('%s is refused by name', async (_, text, words) => {
  hub.put('models/org/model', MODEL);
  hub.put('models/org/pickle', { 'config.json': '{}', 'pytorch_model.bin': 'x' });
  hub.put('models/org/empty', { 'model.safetensors': 'x' });
  const index = '{"weight_map":{"a":"../../x.safetensors"}}';
  hub.put('models/org/astray', { 'config.json': '{}', 'model.safetensors.index.json': index, 'x.safetensors': 'x' });
  expect(await problemOf(fetchOf(text, 'model'))).toMatch(words);
});

test('a name in the list of files writes nothing outside the snapshot', async () => {
  hub.put('models/org/hostile', { ...MODEL, 'a.json': '{}', 'b.json': '{}', 'c.json': '{}' });
  hub.behaviour = { listedAs: { 'a.json': '../../../../a.json', 'b.json': '/tmp/b.json', 'c.json': '.hidden.json' } };
  const { paths } = await fetchOf('org/hostile', 'model');
  expect(readdirSync(paths[0]!).sort()).toEqual(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']);
  expect(readdirSync(home)).toEqual(['hub']);
  expect(lstatSync(join(paths[0]!, 'config.json')).isSymbolicLink()).toBe(true);
});

test.each([
  ['over another protocol', 'ftp://127.0.0.1', /which is not https/],
  ['with a name and a password', 'https://user:word@127.0.0.1', /with a name and a password/],
])('a redirection %s is not followed', async (_, redirectTo, words) => {
  hub.put('models/org/model', MODEL);
  hub.behaviour = { redirectTo };
  expect(await problemOf(fetchOf('org/model', 'model'))).toMatch(words);
});

test.each([
  ['https://169.254.169.254/latest', /to https:\/\/169\.254\.169\.254, an address of this network/],
  ['https://[::1]/', /an address of this network/],
  ['http://1.1.1.1/', /which is not https/],
])('a public hub can not send a request to %s', async (location, words) => {
  const real = globalThis.fetch;
  globalThis.fetch = () => Promise.resolve(new Response(null, { status: 302, headers: { location } }));
  try {
    expect(await problemOf(fetchOf('org/model', 'model', { env: { HF_ENDPOINT: 'https://hub.invalid' } }))).toMatch(words);
  } finally {
    globalThis.fetch = real;
  }
});

test('HF_HUB_OFFLINE asks no server', async () => {
  hub.put('models/org/model', MODEL);
  const offline = { env: { HF_HUB_OFFLINE: '1' } };
  expect(await problemOf(fetchOf('org/model', 'model', offline))).toMatch(/^HUB_OFFLINE: the cache .* lacks org\/model/);
  const { paths } = await fetchOf('org/model', 'model');
  hub.requests.length = 0;
  expect((await fetchOf('org/model', 'model', offline)).paths).toEqual(paths);
  expect(hub.requests).toEqual([]);
});

describe('a split of a data set', () => {
  const README = `---
configs:
- config_name: raw
  data_files:
  - split: train
    path: raw/train-*
  - split: test
    path: [raw/test-*]
- config_name: plain
  data_files: [{ split: train, path: "plain/**" }]
---
# Text`;
  const SPLITS = {
    'README.md': README,
    'text.py': 'raise SystemExit',
    'raw/train-00000-of-00002.jsonl': '{"text":"a"}\n',
    'raw/train-00001-of-00002.jsonl': '{"text":"b"}\n',
    'raw/test-00000-of-00001.jsonl': '{"text":"c"}\n',
    'plain/one.jsonl': '{"text":"d"}\n',
  };
  const named = async (text: string): Promise<string[]> => {
    const { paths, commit } = await fetchOf(text, 'dataset');
    return paths.map((path) => path.slice(path.indexOf(commit) + 41));
  };

  test('is found by the configurations of README.md, and once it is there, without the hub', async () => {
    hub.put('datasets/org/text', SPLITS);
    const train = ['raw/train-00000-of-00002.jsonl', 'raw/train-00001-of-00002.jsonl'];
    expect(await named('org/text:raw:train')).toEqual(train);
    expect(await named('org/text:plain')).toEqual(['plain/one.jsonl']); // its only split
    hub.requests.length = 0;
    expect(await named('org/text:raw:train')).toEqual(train);
    expect(hub.requests).toEqual([]);
    expect(await named('org/text:raw:test')).toEqual(['raw/test-00000-of-00001.jsonl']);
  });

  test('is found by the names of files where README.md has no configurations', async () => {
    hub.put('datasets/org/text', { 'data/train-00000-of-00001.jsonl': '{}', 'data/dev.jsonl': '{}', 'notes.txt': '' });
    expect(await named('org/text:train')).toEqual(['data/train-00000-of-00001.jsonl']);
    expect(await named('org/text:validation')).toEqual(['data/dev.jsonl']);
  });

  test.each([
    ['org/text', /org\/text: a split is to be named; it has org\/text:raw:train, org\/text:raw:test, org\/text:plain:train$/],
    ['org/text:raw', /there is no raw; it has/],
    ['org/text:raw:dev', /there is no raw:dev; it has/],
  ])('that is not clear is refused with what there is: %s', async (text, words) => {
    hub.put('datasets/org/text', SPLITS);
    expect(await problemOf(fetchOf(text, 'dataset'))).toMatch(words);
  });
});
