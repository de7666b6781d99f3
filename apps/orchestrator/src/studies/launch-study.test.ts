import { EspalierError } from '#protocol';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { LaunchStudy } from './launch-study.js';
import type { RunOfStudy } from './study-plan.js';

/** The check of the text. */
let readText = (): Promise<object> => Promise.resolve({});
afterEach(() => (readText = () => Promise.resolve({})));

const data = { trainPath: '/train.jsonl', validationPath: '' };
const runOf = (settings: RequestedSettings): RunOfStudy => ({ variant: 'one', modelPath: '/model', data, settings });

/** Checks these runs of a study, and returns the settings for which a plan was asked. */
async function checked(...settings: RequestedSettings[]): Promise<RequestedSettings[]> {
  const asked: RequestedSettings[] = [];
  const sources = {
    plan: (_path: string, one: RequestedSettings) => {
      asked.push(one);
      return Promise.resolve({ model: {}, memory: { totalBytes: 1n, availableBytes: 2n, hostBytes: 0n, hostAvailableBytes: 0n } });
    },
    namedData: () => readText(),
  };
  const studies = { find: () => Promise.resolve(null), change: () => Promise.resolve({ study: { runs: [] } }) };
  const runs = settings.map(runOf);
  const by = { actor: 'me', roles: [], requestId: '' };
  const request = { name: 'study', note: '', atOnce: 0, halving: undefined, runs };
  await new LaunchStudy(studies as never, sources as never).execute(request, by, new AbortController().signal);
  return asked;
}

test('runs that differ in nothing that an engine needs memory for are checked once', async () => {
  const short = { preset: 'short' };
  const runs = [
    { ...short, seed: '1' },
    { ...short, seed: '2', temperature: 2 },
    { ...short, seed: '3', batchSize: 8 },
  ];
  expect(await checked(...runs)).toEqual([runs[0]]);
  const gentler = { ...short, targetSparsity: 0.3 };
  expect(await checked(runs[0]!, gentler)).toEqual([runs[0], gentler]); // it has fewer teachers
});

test.each<[string, RequestedSettings]>([
  ['streamed weights', { streamWeights: true }],
  ['parts of a batch', { microShards: 2 }],
  ['dense steps', { denseSteps: true }],
  ['another batch', { batchSize: 16 }],
  ['windows, which must fit into the positions', { evaluationWindow: 256 }],
])('%s are asked about by themselves', async (_, settings) => {
  expect(await checked({}, settings)).toEqual([{}, settings]);
});

test.each<[string, RequestedSettings]>([
  ['another budget', { targetBytes: 2_000_000 }],
  ['a cache of more sequences', { targetBytes: 1_000_000, budgetBatch: 4 }],
  ['another type of file', { targetBytes: 1_000_000, budgetDtype: 'q8_0' }],
  ['a recipe that prunes at once, which keeps another least size', { targetBytes: 1_000_000, recipe: 'wanda' }],
])('%s is checked by itself, since the model may not be able to keep it', async (_, settings) => {
  const bytes = { targetBytes: 1_000_000 };
  expect(await checked(bytes, { ...bytes, seed: '2' }, settings)).toEqual([bytes, settings]);
});

test('a text that is not there is told with its run, and what is not a mistake of the run as it is', async () => {
  const refusal = async (error: Error): Promise<unknown> => {
    readText = () => Promise.reject(error);
    return checked({}).catch((one: unknown) => one);
  };
  const message = 'there is no file or folder /train.jsonl';
  expect(await refusal(Object.assign(new Error(message), { code: 'DATA_NOT_FOUND', field: 'data.train_path' }))).toMatchObject({
    code: 'DATA_NOT_FOUND',
    violations: [{ field: 'runs[0].data.train_path', description: message, code: 'DATA_NOT_FOUND' }],
  });
  const defect = new TypeError('x is undefined');
  expect(await refusal(defect)).toBe(defect);
  const unavailable = new EspalierError('ENGINE_UNAVAILABLE', 'the engine ended while starting');
  expect(await refusal(unavailable)).toBe(unavailable);
});

test('the mistakes of all models and texts are told together', async () => {
  const texts = ['a', 'b', 'a'];
  readText = () => Promise.reject(new EspalierError('DATA_NOT_FOUND', `there is no file ${texts.shift()}`));
  const refusal = await checked({}, { batchSize: 16 }, { batchSize: 32 }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({
    code: 'REQUEST_INVALID',
    violations: [
      { field: 'runs[0]', description: 'there is no file a (so in 2 runs)' },
      { field: 'runs[1]', description: 'there is no file b' },
    ],
  });
});

test('a mistake that many runs share is told once, with their number', async () => {
  const runs = ['1', '2', '3'].map((seed) => ({ seed, targetSparsity: 2 }));
  const refusal = await checked(...runs, { batchSize: 0 }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({
    violations: [
      { field: 'runs[0].settings.target_sparsity', description: expect.stringMatching(/is 2 \(so in 3 runs\)$/) as string },
      { field: 'runs[3].settings.batch_size', description: expect.stringMatching(/is 0$/) as string },
    ],
  });
});
