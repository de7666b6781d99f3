// Tests the file and the table of a study, against a server of the public protocol.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invalidField, v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { TestServer } from '../testing/test-server.js';

let folder: string;
let server: TestServer;
let launched: v1.LaunchStudyRequest | undefined;
let refuse: Error | null = null;
let detail: v1.GetStudyResponse;
const { STUDY_STATUS_COMPLETED } = v1.StudyStatus;

const measure = (subject: string, mean: number, spread?: number, task = 'text', metric = 'perplexity'): Partial<v1.StudyMeasure> => ({
  subject,
  task,
  metric,
  convention: 'windows of 256 tokens',
  dataDigest: 'd',
  figure: { mean, spread, lowest: mean - (spread ?? 0), highest: mean + (spread ?? 0), n: spread === undefined ? 1 : 3 },
});
const group = (variant: string, target: string, sparsity: number, ...measures: Partial<v1.StudyMeasure>[]): Partial<v1.StudyGroup> => ({
  variant,
  settings: { target_sparsity: target },
  runs: 3,
  runsCompleted: 3,
  sparsity: { mean: sparsity, spread: 0.001, lowest: sparsity, highest: sparsity, n: 3 },
  measures: measures as v1.StudyMeasure[],
});

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'study-'));
  await mkdir(join(folder, 'models/llama'), { recursive: true }); // else it would be a name of the hub
  server = await TestServer.start({
    launchStudy: (request) => {
      if (refuse !== null) throw refuse;
      launched = request;
      return v1.LaunchStudyResponse.fromPartial({
        study: { studyId: 'abcdefghijkl', name: request.name, runs: request.runs.length },
        added: 2,
      });
    },
    getStudy: () => detail,
  });
});
afterAll(async () => {
  server.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  launched = undefined;
  refuse = null;
  detail = v1.GetStudyResponse.fromPartial({
    study: { studyId: 'abcdefghijkl', name: 'recipes', status: STUDY_STATUS_COMPLETED, runs: 6, runsCompleted: 6 },
    groups: [
      group('nuteprune', '0.3', 0.301, measure('masked', 9.5, 0.25), measure('intact', 8), measure('masked', 0.71, 0.01, 'boolq', 'acc')),
      group('nuteprune', '0.5', 0.502, measure('masked', 12.25, 0.5), measure('intact', 8)),
      group('<wanda>', '0.3', 0.3, measure('masked', 30), measure('intact', 8)),
    ],
    runs: [
      { variant: 'nuteprune', settings: { targetSparsity: 0.3, seed: 1n } },
      { variant: 'a "b", c', settings: { seed: 2n }, refusal: { code: 'MODEL_NOT_FOUND', message: 'gone' } },
    ],
  });
});

const cli = (...words: string[]): Promise<CliResult> => runCli(words, { env: { ESPALIER_SERVER: server.address } });
async function launch(text: string): Promise<CliResult> {
  const path = join(folder, 'study.yaml');
  await writeFile(path, text);
  return cli('study', 'launch', path);
}

const FILE = `name: recipes
model: models/llama
data: train.jsonl
validation: valid.jsonl
at_once: 2
settings: {total_steps: 300}
seeds: [1, 2, 3]
grid:
  target_sparsity: [0.3, 50%]
runs:
  - name: nuteprune
  - name: wanda
    settings: {recipe: wanda, total_steps: 1}
    seeds: [7]
`;

/** 399 to the power of 4 combinations. */
const HUGE_GRID = ['target_sparsity', 'lora_learning_rate', 'mask_learning_rate', 'kl_loss_weight']
  .map((setting) => `  ${setting}: [${Array.from({ length: 399 }, (_, index) => (index + 1) / 1_000).join(',')}]`)
  .join('\n');

test('a file is written out into every combination of variant, grid and seed', async () => {
  expect((await launch(FILE)).stderr).toBe('');
  expect(launched).toMatchObject({ name: 'recipes', atOnce: 2 });
  expect(launched!.runs.map(({ variant, settings }) => [variant, settings!.targetSparsity, settings!.seed, settings!.totalSteps])).toEqual([
    ...[0.3, 0.5].flatMap((target) => [1n, 2n, 3n].map((seed) => ['nuteprune', target, seed, 300])),
    ...[0.3, 0.5].map((target) => ['wanda', target, 7n, 1]),
  ]);
  expect(launched!.runs[0]).toMatchObject({ modelPath: join(folder, 'models/llama'), data: { trainPath: join(folder, 'train.jsonl') } });
});

test('all mistakes of a file are named at once, each with its line', async () => {
  const refused = await launch(`nam: recipes
data: train.jsonl
at_once: 0
settings: {total_stepz: 300, seed: 1, batch_size: many}
seeds: [1, x]
grid:
  target_sparsity: [0.3, half]
  lora_rank: 8
runs:
  - name: nuteprune
  - settings: {recipe: wonder}
  - name: nuteprune
`);
  expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
  expect(refused.stderr).toMatch(/CONFIG_INVALID: the file has 12 mistakes\n/);
  expect(refused.stderr.match(/study\.yaml:\d+: (there is no "\w+"|\w+)/g)).toEqual([
    'study.yaml:1: there is no "nam"',
    'study.yaml:1: name',
    'study.yaml:3: at_once',
    'study.yaml:4: there is no "total_stepz"',
    'study.yaml:4: batch_size',
    'study.yaml:5: seeds',
    'study.yaml:7: target_sparsity',
    'study.yaml:8: lora_rank',
    'study.yaml:10: model',
    'study.yaml:11: name',
    'study.yaml:11: recipe',
    'study.yaml:12: name',
  ]);
});

test('what a variant says counts before the whole, in the grid too', async () => {
  await launch(`${FILE}  - name: gentle\n    settings: {target_sparsity: 0.2, seed: 9}\n    model: /other\n`);
  const gentle = launched!.runs.filter(({ variant }) => variant === 'gentle');
  expect(gentle.map(({ settings, modelPath }) => [settings!.targetSparsity, settings!.seed, modelPath])).toEqual([[0.2, 9n, '/other']]);
  await launch('name: one\nmodel: m\ndata: d\nsettings: {recipe: distill}\n');
  expect(launched!.runs.map(({ variant }) => variant)).toEqual(['distill']);
});

test.each<[string, string, string]>([
  [
    'a key that is not there',
    FILE.replace('grid:', 'gird:'),
    'study.yaml:8: there is no "gird"; allowed are name, note, at_once, halving, model',
  ],
  [
    'a setting that is not there',
    FILE.replace('target_sparsity: [', 'sparsity: ['),
    'study.yaml:9: there is no "sparsity"; allowed are preset',
  ],
  [
    'a word in place of a value',
    FILE.replace('50%', 'half'),
    'study.yaml:9: target_sparsity: "half" is not valid. A number is allowed: 0 to 0.95, or in percent',
  ],
  [
    'a comma in a value',
    FILE.replace('{total_steps: 300}', '\n  total_steps: 300, 600'),
    'study.yaml:7: total_steps: "300, 600" is not valid. A whole number is allowed: 1 to',
  ],
  ['a comma in a seed', FILE.replace('{total_steps: 300}', '\n  seed: 1, 2'), 'Several seeds are the list "seeds" of a study: [1, 2]'],
  ['a comma behind a value', FILE.replace('300}', '300, 600}'), 'study.yaml:6: "600" stands after a comma where "key: value" is needed'],
  ['a list of values', FILE.replace('300}', '[300, 600]}'), 'total_steps: one value is needed, not a list. Several values of a setting'],
  ['a value twice', FILE.replace('50%', '0.3'), 'study.yaml:9: target_sparsity: a value is there twice'],
  ['no list in the grid', FILE.replace('[0.3, 50%]', '0.3'), 'study.yaml:9: target_sparsity: a list of values is needed'],
  ['a seed in the grid', FILE.replace('target_sparsity: [0.3, 50%]', 'seed: [1]'), 'study.yaml:9: seed: seeds have a key of their own'],
  ['a negative seed', FILE.replace('[1, 2, 3]', '[1, -2]'), 'study.yaml:7: seeds: whole numbers from 0'],
  ['a seed twice', FILE.replace('[1, 2, 3]', '[1, 1]'), 'study.yaml:7: seeds: a seed is there twice'],
  ['two words for the seed', FILE.replace('total_steps: 300', 'seed: 4'), 'study.yaml:7: seeds: seeds and the setting seed'],
  ['a setting twice', FILE.replace('total_steps: 300', 'target_sparsity: 0.4'), 'target_sparsity is among settings and in the grid'],
  ['a variant twice', FILE.replace('name: wanda', 'name: nuteprune'), 'study.yaml:12: name: "nuteprune" is there twice'],
  ['a variant without a name', FILE.replace('- name: wanda\n    settings', '- settings'), 'name: every item of runs needs one'],
  ['rungs without a setting', `${FILE}halving: {keep: 0.5}\n`, 'study.yaml:15: halving: the rungs are needed'],
  [
    'rungs of another setting',
    `${FILE}halving: {seed: [1, 2]}\n`,
    'study.yaml:15: there is no "seed"; allowed are keep, one of total_steps',
  ],
  ['rungs that fall', `${FILE}halving: {total_steps: [9, 3]}\n`, 'study.yaml:15: total_steps: two or more whole numbers in ascending'],
  ['a share that is all', `${FILE}halving: {total_steps: [3, 9], keep: 100%}\n`, 'study.yaml:15: keep: a share above 0 and below 1'],
  ['too many at once', FILE.replace('at_once: 2', 'at_once: 65'), 'study.yaml:5: at_once: a whole number from 1 to 64 is allowed'],
  ['no model', FILE.replace('model: models/llama\n', ''), 'model: the folder of a model is needed'],
  ['no name', FILE.replace('name: recipes\n', ''), 'name: a study needs a name'],
  ['no runs', FILE.replace(/runs:[^]*/, 'runs: []\n'), 'runs must be a list of variants'],
  [
    'more runs than a study may have',
    FILE.replace('[1, 2, 3]', `[${Array.from({ length: 600 }, (_, seed) => seed).join(',')}]`),
    'at most 1000 runs',
  ],
  ['a grid beyond any memory', FILE.replace('  target_sparsity: [0.3, 50%]', HUGE_GRID), 'at most 1000 runs'],
])('%s is refused with its line', async (_, text, words) => {
  const { exitCode, stderr } = await launch(text);
  expect([exitCode, stderr.includes(words) ? words : stderr]).toEqual([2, words]);
  expect(launched).toBeUndefined();
});

test.each([
  ['', 1 / 3],
  [', keep: 1/4', 0.25],
  [', keep: 50%', 0.5],
  [', keep: 0.2', 0.2],
])('a file declares successive halving%s', async (keep, share) => {
  expect((await launch(`${FILE}halving: {recover_steps: [100, 300, 900]${keep}}\n`)).stderr).toBe('');
  expect(launched!.halving).toEqual({ setting: 'recover_steps', rungs: [100, 300, 900], keep: share });
});

test('show tells the rungs: who raced whom, and who goes on', async () => {
  detail.study!.halving = { setting: 'total_steps', rungs: [100, 300], keep: 0.5 };
  expect((await cli('study', 'show', 'recipes')).stdout).toContain('no rung is decided yet');
  const figure = { mean: 9.5, spread: 0.25, lowest: 9, highest: 10, n: 2 };
  const contender = { variant: 'a', settings: { mask_learning_rate: '0.1' }, runs: 2 };
  detail.rungs = [
    v1.StudyRung.fromPartial({
      rung: 0,
      budget: 100,
      targetSparsity: 0.5,
      contenders: [
        { ...contender, perplexity: figure, goesOn: true },
        { ...contender, variant: 'b', perplexity: { mean: 5, n: 1 }, missedTarget: true },
        { ...contender, variant: 'c' },
      ],
    }),
  ];
  const { stdout } = await cli('study', 'show', 'recipes');
  expect(stdout).toContain('rungs of 100, 300 total steps; 50.0% of the contenders go on, one at least');
  expect(stdout).toMatch(/1 +100 +50\.0% +1 +a +0\.1 +9\.5000 +± 0\.2500 +goes on/);
  expect(stdout).toMatch(/2 +b +0\.1 +5\.0000 +- +out, missed its target/);
  expect(stdout).toMatch(/3 +c +0\.1 +- +- +failed/);
});

test.each([
  ['a value of a variant', 7, 'settings.total_steps', '13: run wanda with target_sparsity 50%: total_steps'],
  ['a value of the grid', 3, 'settings.target_sparsity', '9: run nuteprune with target_sparsity 50%, seed 1: target_sparsity'],
  ['a seed', 1, 'settings.seed', '7: run nuteprune with target_sparsity 0.3, seed 2: seed'],
  ['a source', 0, 'data.train_path', '3: run nuteprune with target_sparsity 0.3, seed 1: data'],
  ['a value that the file leaves out', 7, 'settings.batch_size', '12: run wanda with target_sparsity 50%: batch_size'],
  ['the run', 7, '', '12: run wanda with target_sparsity 50%'],
])('a refusal of the server is told by the line and the run: %s', async (_, run, field, place) => {
  refuse = invalidField('FIELD_OUT_OF_RANGE', `runs[${run}]${field === '' ? '' : `.${field}`}`, 'must be another');
  const { exitCode, stderr } = await launch(FILE);
  expect(exitCode).toBe(2);
  expect(stderr.replaceAll(/\s+/g, ' ')).toContain(`study.yaml:${place}: must be another`);
  expect(stderr).not.toContain('runs[');
});

test('the table has mean and spread, and another measure by its name', async () => {
  const { stdout } = await cli('study', 'show', 'recipes');
  expect(stdout).toContain('6 of 6 runs completed');
  expect(stdout).toMatch(/nuteprune +0\.3 +3 +30\.1% +9\.5000 +± 0\.2500/);
  expect(stdout).toContain('before pruning 8.0000');
  expect((await cli('study', 'show', 'recipes', '--measure', 'boolq acc')).stdout).toMatch(/BOOLQ ACC[^]*0\.7100/);
  const unknown = await cli('study', 'show', 'recipes', '--measure', 'piqa acc');
  expect([unknown.exitCode, unknown.stderr]).toEqual([2, expect.stringContaining('there are: perplexity, boolq acc') as string]);
});

test('the CSV has a line for each run, and is replaced only where it is one of ours', async () => {
  const csv = join(folder, 'study.csv');
  expect((await cli('study', 'show', 'recipes', '--csv', csv)).exitCode).toBe(0);
  const lines = (await readFile(csv, 'utf8')).trimEnd().split('\n');
  expect(lines[0]).toMatch(/^study,variant,run,status,preset,recipe,target_sparsity/);
  expect(lines[1]).toMatch(/^recipes,nuteprune,,waiting,/);
  expect(lines[2]).toMatch(/^recipes,"a ""b"", c",,refused,.*,gone$/);
  expect((await cli('study', 'show', 'recipes', '--csv', csv)).exitCode).not.toBe(0);
  expect((await cli('study', 'show', 'recipes', '--csv', csv, '--force')).exitCode).toBe(0);
  await writeFile(csv, 'mine');
  expect((await cli('study', 'show', 'recipes', '--csv', csv, '--force')).exitCode).not.toBe(0);
});
