// Tests names of the hub in place of paths, with a cache in the layout of the hub's own programs.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { hubCache, hubPath, pathWords } from '#hub';
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { testRun, TestServer } from '../testing/test-server.js';
import { TestHub } from '../../../../libs/hub/src/testing/test-hub.js';

const FIRST = 'a'.repeat(40);
const SECOND = 'b'.repeat(40);
let folder: string;
let cache: string;
let server: TestServer;
let launched: v1.LaunchRunRequest | undefined;
let run: v1.Run;

/** Adds a file to a repository: a blob, and a link to it in the snapshot of a commit. */
async function put(repository: string, commit: string, file: string): Promise<void> {
  const blob = join(cache, repository, 'blobs', `${commit}-${file.replaceAll('/', '-')}`);
  const link = join(cache, repository, 'snapshots', commit, file);
  await Promise.all([blob, link].map((path) => mkdir(join(path, '..'), { recursive: true })));
  await writeFile(blob, '{}');
  await symlink(blob, link);
}
async function refer(repository: string, revision: string, commit: string): Promise<void> {
  const path = join(cache, repository, 'refs', revision);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, commit);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hub-names-'));
  cache = join(folder, 'home/hub');
  for (const commit of [FIRST, SECOND]) await put('models--org--model', commit, 'config.json');
  await refer('models--org--model', 'main', SECOND);
  await refer('models--org--model', 'refs/pr/1', FIRST);
  await refer('models--org--model', 'lost', 'c'.repeat(40));
  await put('datasets--org--text', FIRST, 'data/train.jsonl');
  await refer('datasets--org--text', 'main', FIRST);
  await mkdir(join(folder, 'here/org/model'), { recursive: true });
  server = await TestServer.start({
    launchRun: (request) => {
      launched = request;
      return v1.LaunchRunResponse.fromPartial({ run: testRun() });
    },
    getRun: () => v1.GetRunResponse.fromPartial({ run }),
  });
});
afterAll(async () => {
  server.stop();
  await rm(folder, { recursive: true, force: true });
});

const cli = (args: string[], cwd = folder): Promise<CliResult> =>
  runCli([...args], { env: { ESPALIER_SERVER: server.address, HF_HOME: join(folder, 'home') }, cwd });
const model = (commit: string): string => join(cache, 'models--org--model/snapshots', commit);

test.each([
  ['org/model', SECOND],
  ['org/model@main', SECOND],
  [`org/model@${FIRST}`, FIRST],
  ['org/model@refs/pr/1', FIRST],
  ['org/model/config.json', SECOND], // a file of a model stands for its folder
  ['org/model@refs/pr/1/config.json', FIRST],
])('a launch of %s has the commit in its path', async (name, commit) => {
  const { stderr } = await cli([
    'launch',
    '--model',
    name,
    '--data',
    'org/text',
    '--validation',
    'org/text@main/data/train.jsonl',
    '--json',
  ]);
  expect(stderr).toBe('');
  const text = join(cache, 'datasets--org--text/snapshots', FIRST);
  expect(launched).toMatchObject({
    modelPath: model(commit),
    data: { trainPath: text, validationPath: join(text, 'data/train.jsonl') },
  });
});

test('a path that is there counts before a name, and what the cache lacks is a path', async () => {
  await cli(['launch', '--model', 'org/model', '--data', 'org/other', '--json'], join(folder, 'here'));
  expect(launched).toMatchObject({ modelPath: join(folder, 'here/org/model'), data: { trainPath: join(folder, 'here/org/other') } });
});

test('a file of a run takes names too, and says the line of one that is not there', async () => {
  const path = join(folder, 'run.yaml');
  await writeFile(path, 'model: org/model\ndata: [org/text, ./more.jsonl]\n');
  expect((await cli(['launch', '--config', path, '--json'])).stderr).toBe('');
  expect(launched).toMatchObject({ modelPath: model(SECOND), data: { moreTrainPaths: [join(folder, 'more.jsonl')] } });
  await writeFile(path, 'data: org/text\nmodel: org/model@v9\n');
  const refused = await cli(['launch', '--config', path]);
  expect([refused.exitCode, refused.stderr]).toEqual([
    2,
    expect.stringContaining('run.yaml:2: model: The cache of Hugging Face') as string,
  ]);
});

test.each([
  ['org/model@lost', 'has no revision lost of org/model'], // the snapshot of this revision is gone
  ['org/model@v9', 'has no revision v9 of org/model'],
  ['org/model@../../snapshots', 'has no revision'],
  [`org/model@${FIRST.slice(0, 8)}`, 'has no revision'],
  ['org/other@main', 'There is no model org/other in the cache of Hugging Face, '],
  ['org/model/other.json', `org/model at ${SECOND} has no other.json`],
  ['org/model/../../refs/main', 'has no ../../refs/main'],
])('%s is refused by name', async (name, words) => {
  const { exitCode, stderr } = await cli(['launch', '--model', name, '--data', 'org/text']);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words) as string]);
});

test('the cache is where the programs of the hub look', () => {
  expect(hubCache({ HF_HUB_CACHE: '/a', HUGGINGFACE_HUB_CACHE: '/b', HF_HOME: '/c' })).toBe('/a');
  expect(hubCache({ HUGGINGFACE_HUB_CACHE: '/b', HF_HOME: '/c' })).toBe('/b');
  expect(hubCache({ HF_HOME: '/c', XDG_CACHE_HOME: '/d' })).toBe('/c/hub');
  expect(hubCache({ XDG_CACHE_HOME: '/d' })).toBe('/d/huggingface/hub');
  expect(hubCache({})).toMatch(/^\/.*\/\.cache\/huggingface\/hub$/);
  const offline = { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: '1' };
  expect(hubPath('org/model', 'dataset', join(folder, 'org/model'), offline)).toBe('hub://datasets/org/model'); // a model is no data set
});

test('a name that the cache lacks is an error that names the hub where nothing may be fetched', async () => {
  launched = undefined;
  const { exitCode, stderr } = await cli(['launch', '--model', 'org/absent', '--data', 'org/text']);
  expect([exitCode, stderr, launched]).toEqual([3, expect.stringContaining('HUB_OFFLINE') as string, undefined]);
  expect(stderr).toContain(`the cache ${cache} lacks org/absent, and HF_HUB_OFFLINE forbids to fetch it`);
});

test('show says name and commit', async () => {
  run = { ...testRun(), modelPath: model(FIRST) };
  expect((await cli(['show', 'k3f9'])).stdout).toContain(`org/model at commit ${FIRST}`);
  expect(pathWords('/models/llama')).toBe('/models/llama');
  expect(pathWords('/c/datasets--org--a-b/snapshots/' + FIRST + '/data/x.csv')).toBe(`org/a-b at commit ${FIRST}, data/x.csv`);
});

describe('what the cache lacks', () => {
  let hub: TestHub;
  let home: string;
  let commit: string;
  beforeAll(async () => {
    hub = await TestHub.start();
    home = join(folder, 'fetched');
    commit = hub.put('models/org/named', { 'config.json': '{}', 'model.safetensors': 'weights' });
    hub.put('datasets/org/texts', {
      'README.md':
        '---\nconfigs:\n- config_name: raw\n  data_files: [{ split: train, path: raw/train-* }, { split: dev, path: raw/dev* }]\n---\n',
      'raw/train-00000-of-00002.jsonl': '{}',
      'raw/train-00001-of-00002.jsonl': '{}',
      'raw/dev.jsonl': '{}',
    });
  });
  afterAll(() => hub.stop());
  const online = (args: string[], cwd = folder, server_ = server.address): Promise<CliResult> =>
    runCli(args, { env: { ESPALIER_SERVER: server_, HF_HOME: home, HF_ENDPOINT: hub.address, HF_HUB_OFFLINE: '' }, cwd });

  test('is fetched for a launch, which records the commit in its paths; the files of a split share its weight', async () => {
    const data = ['--data', 'org/texts:raw:train=0.5', '--data', 'more.jsonl=0.5', '--validation', 'org/texts:raw:dev'];
    const { stderr } = await online(['launch', '--model', 'org/named', ...data, '--json']);
    expect(stderr).toBe('');
    const { modelPath, data: source } = launched!;
    expect(pathWords(modelPath)).toBe(`org/named at commit ${commit}`);
    const files = [source!.trainPath, ...source!.moreTrainPaths].map((path) => basename(path));
    expect(files).toEqual(['train-00000-of-00002.jsonl', 'train-00001-of-00002.jsonl', 'more.jsonl']);
    expect(source!.trainWeights).toEqual([0.25, 0.25, 0.5]);
    expect(pathWords(source!.validationPath)).toMatch(/^org\/texts at commit \w{40}, raw\/dev\.jsonl$/);
  });

  test('is fetched for the file of a run, and by pull, which prints the path', async () => {
    const path = join(folder, 'named.yaml');
    await writeFile(path, 'model: org/named\ndata: [org/texts:raw:dev]\n');
    expect((await online(['launch', '--config', path, '--json'])).stderr).toBe('');
    expect(pathWords(launched!.modelPath)).toBe(`org/named at commit ${commit}`);
    const { stdout } = await online(['pull', '--dataset', 'org/texts:raw:dev']);
    expect(stdout).toBe(`${launched!.data!.trainPath}\n`);
  });

  test('is not asked for where a mistyped path is likelier, nor for a server on another machine', async () => {
    hub.requests.length = 0;
    await online(['launch', '--model', 'org/nothing', '--data', 'org/train.jsonl', '--json'], join(folder, 'here'));
    expect(launched).toMatchObject({
      modelPath: join(folder, 'here/org/nothing'),
      data: { trainPath: join(folder, 'here/org/train.jsonl') },
    });
    const elsewhere = await online(['launch', '--model', 'org/absent', '--data', 'x.jsonl'], folder, '203.0.113.7:7433');
    expect([elsewhere.exitCode, elsewhere.stderr]).toEqual([2, expect.stringContaining('HUB_NAME_ELSEWHERE') as string]);
    expect(elsewhere.stderr).toContain('espalier pull org/absent');
    expect(hub.requests).toEqual([]);
  });

  test('and what the hub lacks is an error with its name, before the server is asked', async () => {
    launched = undefined;
    const { exitCode, stderr } = await online(['launch', '--model', 'org/none', '--data', 'org/texts:raw:dev']);
    expect([exitCode, stderr, launched]).toEqual([3, expect.stringContaining('has no model org/none') as string, undefined]);
  });
});
