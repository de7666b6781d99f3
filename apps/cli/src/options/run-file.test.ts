// launch, plan and fork from a YAML file, against a server of the public protocol.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { testRun, TestServer } from '../testing/test-server.js';

let folder: string;
let server: TestServer;
let launched: v1.LaunchRunRequest | undefined;
let forked: v1.ForkRunRequest | undefined;
const run = testRun();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'run-file-'));
  await mkdir(join(folder, 'models/llama'), { recursive: true }); // else it would be a name of the hub
  server = await TestServer.start({
    launchRun: (request) => {
      launched = request;
      return v1.LaunchRunResponse.fromPartial({ run: { ...run, settings: request.settings } });
    },
    forkRun: (request) => {
      forked = request;
      return v1.ForkRunResponse.fromPartial({ run: { ...run, settings: request.settings } });
    },
  });
});
afterAll(async () => {
  server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function withFile(text: string, ...args: string[]): Promise<CliResult> {
  await writeFile(join(folder, 'run.yaml'), text);
  return runCli([...args, '--config', 'run.yaml', '--json'], { env: { ESPALIER_SERVER: server.address }, cwd: folder });
}

const FILE = `
model: models/llama   # of the file's folder
data: /texts/train.jsonl
name: "from a file"
tags: [sweep, 7b]
settings:
  target_sparsity: 50%
  temperature: 2/3
  seed: 18446744073709551615
  schedule: cubic
  lora_targets: [q_proj, v_proj]
  dense_steps: true
`;

test('a launch is what the file says, and options say more', async () => {
  expect((await withFile(FILE, 'launch')).stderr).toBe('');
  expect(launched).toMatchObject({
    modelPath: join(folder, 'models/llama'),
    data: { trainPath: '/texts/train.jsonl', validationPath: '' },
    name: 'from a file',
    tags: ['sweep', '7b'],
    settings: {
      targetSparsity: 0.5,
      temperature: 2 / 3,
      seed: 18_446_744_073_709_551_615n,
      schedule: v1.ScheduleShape.SCHEDULE_SHAPE_CUBIC,
      loraTargets: ['q_proj', 'v_proj'],
      denseSteps: true,
    },
  });
  await withFile(FILE, 'launch', '--seed', '7', '--name', 'other', '--data', '/x', '--tag', 'one');
  expect(launched).toMatchObject({ name: 'other', data: { trainPath: '/x' }, tags: ['one'], settings: { seed: 7n, targetSparsity: 0.5 } });
});

test('a speed table is a file beside the run file, or a digest', async () => {
  const withTable = (table: string) => withFile(`model: m\ndata: d\nsettings: {target_speedup: 2, speed_table: ${table}}\n`, 'launch');
  await withTable('cpu.json');
  expect(launched!.settings).toMatchObject({ targetSpeedup: 2, speedTable: join(folder, 'cpu.json') });
  await withTable('ab'.repeat(32));
  expect(launched!.settings).toMatchObject({ speedTable: 'ab'.repeat(32) });
});

test('a target among the options counts, whichever target the file has', async () => {
  await withFile('model: m\ndata: d\nsettings: {target_params: 2.1M, seed: 3}\n', 'launch');
  expect(launched!.settings).toMatchObject({ targetParams: 2.1e6, targetSparsity: undefined, seed: 3n });
  await withFile('model: m\ndata: d\nsettings: {target_sparsity: 0.5, seed: 3}\n', 'launch', '--target-bytes', '2.5GiB');
  expect(launched!.settings).toMatchObject({ targetBytes: 2.5 * 1024 ** 3, targetSparsity: undefined, seed: 3n });
});

test('text may be several paths, another column and only its beginning, in the file and as options', async () => {
  const file =
    'model: m\ndata: [a.jsonl, /b]\nvalidation: v\ntext_column: content\nresponse_only: true\n' +
    'max_train_tokens: 1000\nmax_validation_tokens: 2e3\nvalidation_text_column: ""\n';
  await withFile(file, 'launch');
  expect(launched!.data).toEqual({
    trainPath: join(folder, 'a.jsonl'),
    moreTrainPaths: ['/b'],
    trainWeights: [],
    validationPath: join(folder, 'v'),
    moreValidationPaths: [],
    textColumn: 'content',
    validationTextColumn: '',
    responseOnly: true,
    withoutValidation: false,
    maxTrainTokens: 1000n,
    maxValidationTokens: 2000n,
  });
  await withFile(file, 'launch', '--data', '/c', '--data', '/d', '--text-column', 'messages', '--max-train-tokens', '5');
  expect(launched!.data).toMatchObject({ trainPath: '/c', moreTrainPaths: ['/d'], textColumn: 'messages', maxTrainTokens: 5n });
  await withFile('data: [/c, /d]\nmax_train_tokens: 7', 'fork', 'abcd', '--last');
  expect(forked!.data).toMatchObject({ trainPath: '/c', moreTrainPaths: ['/d'], validationPath: '', maxTrainTokens: 7n });
  expect(forked!.data!.withoutValidation).toBe(false);
  await withFile('data: /c\nvalidation: /v', 'fork', 'abcd', '--last', '--no-validation');
  expect(forked!.data).toMatchObject({ trainPath: '/c', validationPath: '', withoutValidation: true });
});

test('a fork takes all of it but the model', async () => {
  await withFile('settings: {target_sparsity: 0.7}\nnote: gentler', 'fork', 'abcd', '--last');
  expect(forked).toMatchObject({ note: 'gentler', settings: { targetSparsity: 0.7 } });
  expect((await withFile(FILE, 'fork', 'abcd', '--last')).stderr).toContain('the model of its parent');
  expect((await withFile('measure: {on: cpu}\n', 'fork', 'abcd', '--last')).stderr).toContain('the table of its parent');
});

test.each([
  ['nuteprune', { recoverSchedule: v1.RateShape.RATE_SHAPE_LINEAR }],
  ['llm-pruner', { recoverLoraDropout: 0.05, recoverWarmupSteps: 100 }],
])('a fork is tuned as %s published it, on data and for steps that are named', async (name, tuning) => {
  const options = ['--config', `examples/recover/${name}-alpaca.yaml`, '--data', '/alpaca.json', '--recover-steps', '900'];
  const { exitCode } = await runCli(['fork', 'abcd', '--last', ...options], { env: { ESPALIER_SERVER: server.address } });
  expect(exitCode).toBe(0);
  expect(forked).toMatchObject({
    data: { trainPath: '/alpaca.json', responseOnly: true },
    settings: {
      recoverSteps: 900,
      recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_LORA,
      recoverLearningRate: 1e-4,
      recoverLmLossWeight: 1,
      ...tuning,
    },
  });
});

const bomb = `a: &a [x, x]\n${Array.from({ length: 30 }, (_, index) => `b${index}: &b${index} [*a, *a, *a]`).join('\n')}`;
test.each<[string, string, string]>([
  [
    'a key that is not there',
    `${FILE}  targt_sparsity: 0.4\n`,
    'run.yaml:13: there is no \\"targt_sparsity\\"; allowed are preset, recipe',
  ],
  ['another one at the top', 'modle: x\n', 'run.yaml:1: there is no \\"modle\\"'],
  ['a key given twice', 'name: a\nname: b\n', 'run.yaml:2: Map keys must be unique'],
  ['a value of another kind', 'settings:\n  total_steps: many\n', 'run.yaml:2: total_steps: \\"many\\" is not valid. A whole number'],
  ['an unknown word', 'settings:\n  recipe: cake\n', 'run.yaml:2: recipe: \\"cake\\" is not valid. Allowed are nuteprune'],
  ['no value', 'settings:\n  seed:\n', 'seed: a value is needed'],
  ['yes in place of true', 'settings: {dense_steps: yes}', 'dense_steps: true and false are allowed'],
  ['no path in a list of paths', 'data: []\n', 'run.yaml:1: data: a path, or a list of paths, is needed'],
  ['a weight after a colon', 'data:\n  - a.jsonl: 0.7\n  - b.jsonl: 0.3\n', 'run.yaml:2: data: a weight stands after \\"=\\"'],
  ['the same in one mapping', 'data: {a.jsonl: 0.7}\n', 'a.jsonl=0.7, not a.jsonl: 0.7'],
  ['a path with a value', 'validation: [{a.jsonl: no}]\n', 'validation: a path, or a list of paths, is needed; a.jsonl has a value'],
  ['a limit that takes nothing', 'max_train_tokens: 0\n', 'max_train_tokens: a whole number of 1 or more is needed'],
  ['a measurement on no device', 'measure: {phase: decode}\n', 'run.yaml:1: measure: on is needed in it'],
  [
    'a measurement of what is not there',
    'measure: {on: cpu, rounds: 3}\n',
    'there is no \\"rounds\\"; allowed are on, phase, context, batch',
  ],
  ['a table both read and measured', 'measure: {on: cpu}\nsettings: {speed_table: a.json}\n', 'a table is either measured or read'],
  ['an anchor', 'name: &n x\n', 'run.yaml:1: anchors and aliases are not allowed'],
  ['a bomb of aliases', bomb, 'run.yaml:1: anchors and aliases are not allowed'],
  ['what would be a program', 'name: !!js/function "f"\n', 'run.yaml:1: Unresolved tag'],
  ['lists in lists without end', `name: ${'['.repeat(30_000)}`, 'run.yaml'],
  ['a list', '- a\n', 'run.yaml:1: the file must be a mapping'],
  ['two documents', 'name: a\n---\nname: b\n', 'run.yaml'],
  ['more than anybody writes', `name: ${'x'.repeat(70_000)}`, 'at most 65536 bytes'],
  ['bytes that are not text', '\u0000name: x', 'run.yaml'],
])('%s is refused with its place', async (_, text, words) => {
  launched = undefined;
  const { exitCode, stderr } = await withFile(text, 'launch');
  expect(exitCode).toBe(2);
  expect(stderr).toContain(words);
  expect(launched).toBeUndefined();
});

test('a key of the file is told by its own name, not by that of an option', async () => {
  const path = join(folder, 'run.yaml');
  await writeFile(path, 'settings:\n  total_steps: many\n');
  const wrong = await runCli(['plan', '--config', path], { env: { ESPALIER_SERVER: server.address } });
  expect(wrong.stderr).toContain('--config: run.yaml:2: total_steps: "many" is not valid. A whole number');
  await writeFile(path, 'settings:\n  steps: 3\n');
  const unknown = await runCli(['plan', '--config', path], { env: { ESPALIER_SERVER: server.address } });
  expect(unknown.stderr).toMatch(/there is no "steps"; allowed are preset, recipe, target_sparsity, total_steps/);
});

test('what neither the file nor an option says is asked for', async () => {
  const { exitCode, stderr } = await withFile('data: /x\n', 'launch');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('--model is needed');
});
