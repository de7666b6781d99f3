// Tests which runs are found by settings and figures, in the database too, and the figures of groups of runs.
import { v1 } from '#protocol';
import { perplexityOver } from '../pruning-run/record/measures.js';
import type { PruningRunEventData } from '../pruning-run/record/pruning-run.events.js';
import { data, launched, stateAt, Story } from '../pruning-run/testing.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { RunProjection } from './projection/run-projection.js';
import { type RunSummary } from './projection/run-detail.js';
import { conditionsOf } from './run-conditions.js';
import { listFigures } from './list-figures.js';
import { groupRuns } from './run-groups.js';
import { filteredRuns, listRuns } from './run-list.js';
import { Recorder, withDatabase } from './testing.js';

const LAST = stateAt(20, 0.25);

/** A completed run whose last state has this perplexity, or was never evaluated where it is null. */
function story(
  runId: string,
  requested: RequestedSettings,
  perplexity: number | null,
  more: Partial<PruningRunEventData<'EvaluationRecorded'>>[] = [],
): Story {
  const told = new Story(launched({ totalSteps: 20, targetSparsity: 0.25, ...requested }, runId)).start().train(stateAt(10, 0.1), LAST);
  const about = {
    subject: 'masked' as const,
    step: 20,
    stateDigest: LAST.stateDigest,
    teacherMark: null,
    stderr: null,
    n: 10,
    details: {},
  };
  const measured = { ...about, ...perplexityOver(256), dataDigest: data.validationDigest! };
  if (perplexity !== null) told.when({ kind: 'recordEvaluation', ...measured, value: perplexity });
  for (const one of more) told.when({ kind: 'recordEvaluation', ...measured, value: 0, ...one });
  told.when({ kind: 'complete', attempt: 1, evaluationError: null });
  return told;
}

const boolq = (value: number, more = {}) => ({ task: 'boolq', metric: 'acc', convention: '0 shots', value, ...more });
const STORIES: Record<string, Story> = {
  aaaaaaaaaaa2: story('aaaaaaaaaaa2', { recipe: 'nuteprune', seed: '1' }, 5.5, [boolq(0.5, { convention: '5 shots' }), boolq(0.7)]),
  bbbbbbbbbbb2: story('bbbbbbbbbbb2', { recipe: 'nuteprune', seed: '2' }, 6.5, [
    boolq(0.4),
    boolq(0.9, { subject: 'intact', stateDigest: null }),
  ]),
  ccccccccccc2: story('ccccccccccc2', { recipe: 'lm', seed: '1', targetSparsity: 0.5 }, null),
};
const SUMMARIES = Object.entries(STORIES).map(([runId, told]): RunSummary => {
  const { close, database } = withDatabase();
  const recorder = new Recorder().record(runId, told.facts);
  new RunProjection(database).apply(recorder.events, recorder.events.at(-1)!.position);
  const row = database.prepare('SELECT summary FROM run_details').get() as { summary: string };
  close();
  return JSON.parse(row.summary) as RunSummary;
});
const found = (...where: string[]): string[] => SUMMARIES.filter(conditionsOf(where)).map(({ run }) => run.runId[0]!);

test.each<[string[], string]>([
  [[], 'abc'],
  [['target_sparsity=0.25'], 'ab'],
  [['target_sparsity = 25%'], 'ab'],
  [['target_sparsity!=1/4'], 'c'],
  [['recipe=lm'], 'c'],
  [['recipe!=lm', 'seed=1'], 'a'],
  [['perplexity<6'], 'a'],
  [['perplexity>=6.5'], 'b'],
  [['perplexity!=6.5'], 'a'], // a run without a perplexity is not found
  [['sparsity>10%'], 'abc'], // of all parameters, embeddings included
  [['sparsity>90%'], ''],
  [['step>=20', 'batch_size<=8'], 'abc'],
  [['boolq acc>0.6'], 'a'], // the last value of the masked model counts
  [['boolq acc<=0.7'], 'ab'],
  [['checkpoint_activations=true'], ''],
  [['name=tiny'], 'abc'],
  [['parent=aaaaaaaaaaa2'], ''],
  [['lora_targets=q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj'], 'abc'],
])('%j finds %s', (where, runs) => expect(found(...where).join('')).toBe(runs));

test.each<[string, RegExp]>([
  ['target_sparsity', /is not a condition: a figure, one of <= >= != = < > and a value/],
  ['=5', /is not a condition/],
  ['colour=red', /there is no figure "colour"; allowed are perplexity, .*settings .*"boolq acc"/],
  ['recipe=best', /"best" is not a value of recipe: Allowed are nuteprune/],
  ['batch_size=many', /"many" is not a value of batch_size: A whole number is allowed: 1 to/],
  ['perplexity<low', /"low" is not a value of perplexity: A number is allowed/],
  ['perplexity<', /"" is not a value of perplexity/],
  ['recipe<lm', /recipe is a word, which = and != compare/],
  ['__proto__=1', /there is no figure/],
])('%s is refused with what is allowed', (where, words) => {
  expect(() => conditionsOf(['seed=1', where])).toThrow(words);
  expect(() => conditionsOf(['seed=1', where])).toThrow(expect.objectContaining({ field: 'where[1]' }));
});

test('lists, pages and totals keep the conditions; a page goes on with the same ones only', () => {
  const { database, close } = withDatabase();
  const recorder = new Recorder();
  for (const [runId, told] of Object.entries(STORIES)) recorder.record(runId, told.facts);
  new RunProjection(database).apply(recorder.events, recorder.events.at(-1)!.position);
  const list = (partial: Partial<v1.ListRunsRequest>) =>
    listRuns(database, v1.ListRunsRequest.fromPartial({ orderBy: 'name', ...partial }), [], 0);
  const where = ['target_sparsity=0.25'];
  const first = list({ where, pageSize: 1 });
  expect([first.total, first.runs.length]).toEqual([2, 1]);
  const second = list({ where, pageSize: 1, pageToken: first.nextPageToken });
  expect([...first.runs, ...second.runs].map(({ run }) => run.runId)).toEqual(['aaaaaaaaaaa2', 'bbbbbbbbbbb2']);
  expect(second.nextPageToken).toBe('');
  expect(() => list({ where: ['perplexity<9'], pageSize: 1, pageToken: first.nextPageToken })).toThrow(
    expect.objectContaining({ code: 'PAGE_TOKEN_INVALID', field: 'page_token' }),
  );
  expect(list({ where: ['perplexity<6'] }).total).toBe(1); // the conditions of the request before no longer hold
  const groups = groupRuns(['recipe'], [], filteredRuns(database, v1.ListRunsRequest.fromPartial({ where: ['seed=1'] }), [], 0));
  expect(groups.groups.map(({ values, runs }) => [values[0], runs])).toEqual([
    ['lm', 1],
    ['nuteprune', 1],
  ]);
  close();
});

test.each<[string, string]>([
  ['perplexity', 'abc'],
  ['perplexity desc', 'bac'], // a run without a perplexity comes last in both directions
  ['target_sparsity', 'abc'],
  ['target_sparsity desc', 'cba'],
  ['recipe', 'cab'],
  ['boolq acc', 'bac'],
  ['boolq acc desc', 'abc'],
  ['seed desc', 'bca'],
  ['id desc', 'cba'],
  ['status', 'abc'],
])('ordered by %s, the runs are %s, a page at a time too', (orderBy, order) => {
  const { database, close } = withDatabase();
  const recorder = new Recorder();
  for (const [runId, told] of Object.entries(STORIES)) recorder.record(runId, told.facts);
  new RunProjection(database).apply(recorder.events, recorder.events.at(-1)!.position);
  let listed = '';
  let pageToken = '';
  do {
    const page = listRuns(database, v1.ListRunsRequest.fromPartial({ orderBy, pageSize: 1, pageToken }), [], 0);
    expect(page.total).toBe(3);
    listed += page.runs.map(({ run }) => run.runId[0]).join('');
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && listed.length < 9);
  expect(listed).toBe(order);
  close();
});

test('an order that there is not is refused with what is allowed', () => {
  const { database, close } = withDatabase();
  const list = (orderBy: string) => listRuns(database, v1.ListRunsRequest.fromPartial({ orderBy }), [], 0);
  for (const orderBy of ['colour', 'name sideways', '__proto__'])
    expect(() => list(orderBy)).toThrow(expect.objectContaining({ field: 'order_by', code: 'FIELD_UNKNOWN_VALUE' }));
  expect(() => list('colour desc')).toThrow(expect.objectContaining({ code: 'FIELD_UNKNOWN_VALUE', field: 'order_by' }));
  close();
});

test('perplexities on other texts have no mean in a group, and no best run', () => {
  const elsewhere = structuredClone(SUMMARIES[1]!);
  elsewhere.run.data.validationDigest = 'f'.repeat(64);
  for (const one of elsewhere.run.evaluations) Object.assign(one, { dataDigest: elsewhere.run.data.validationDigest });
  const [group] = groupRuns(['recipe'], [], [SUMMARIES[0]!, elsewhere]).groups;
  expect(group).toMatchObject({ runsCompleted: 2, perplexity: undefined, bestRunId: '' });
});

test('groups have the mean and the spread of their completed runs', () => {
  const { groups, total } = groupRuns(['recipe', 'target_sparsity'], [], SUMMARIES);
  expect(total).toBe(3);
  expect(groups).toEqual([
    expect.objectContaining({ values: ['lm', '0.5'], runs: 1, runsCompleted: 1, perplexity: undefined, bestRunId: '' }),
    expect.objectContaining({
      values: ['nuteprune', '0.25'],
      runs: 2,
      runsCompleted: 2,
      perplexity: { mean: 6, spread: Math.SQRT1_2, lowest: 5.5, highest: 6.5, n: 2 },
      bestRunId: 'aaaaaaaaaaa2',
    }),
  ]);
  const [none, told] = groupRuns(['recipe'], ['boolq acc', 'seed'], SUMMARIES).groups;
  expect(told!.figures).toEqual([
    { name: 'boolq acc', figure: expect.objectContaining({ lowest: 0.4, highest: 0.7, n: 2 }) },
    { name: 'seed', figure: undefined }, // a seed has 64 bits, so it is not a number to calculate with
  ]);
  expect(none!.figures.map(({ figure }) => figure)).toEqual([undefined, undefined]);
  for (const more of [['nothing'], Array<string>(17).fill('seed')]) expect(() => groupRuns(['recipe'], more, SUMMARIES)).toThrow(/figures/);
  const byMeasure = groupRuns(['boolq acc'], [], SUMMARIES).groups.map(({ values }) => values);
  expect(byMeasure).toEqual([['0.4'], ['0.7'], ['']]); // numbers by size, runs without the figure last
  const running = SUMMARIES.map((one) => ({ ...one, run: { ...one.run, status: 'training' as const } }));
  expect(groupRuns(['recipe'], [], running).groups.map(({ runsCompleted, perplexity }) => [runsCompleted, perplexity])).toEqual([
    [0, undefined],
    [0, undefined],
  ]);
  for (const by of [[], ['a b c'], Array<string>(5).fill('seed')]) expect(() => groupRuns(by, [], SUMMARIES)).toThrow(/by/);
});

test('figures of many runs are columns of numbers or texts, of all runs or of named ones', () => {
  expect(listFigures(['perplexity', 'recipe'], [], SUMMARIES)).toEqual({
    runIds: SUMMARIES.map(({ run }) => run.runId),
    names: SUMMARIES.map(({ run }) => run.name),
    revisions: SUMMARIES.map(({ run }) => BigInt(run.revision)),
    digestChains: SUMMARIES.map(({ run }) => run.chain),
    columns: [
      { name: 'perplexity', numbers: [5.5, 6.5, NaN], texts: [] },
      { name: 'recipe', numbers: [], texts: ['nuteprune', 'nuteprune', 'lm'] },
    ],
  });
  expect(listFigures(['seed', 'measure'], ['ccccccccccc2'], SUMMARIES)).toMatchObject({
    runIds: ['ccccccccccc2'],
    columns: [{}, { texts: [''] }],
  });
  for (const figures of [['colour'], Array<string>(65).fill('seed')]) expect(() => listFigures(figures, [], SUMMARIES)).toThrow(/figures/);
  expect(() => listFigures(['seed'], Array<string>(501).fill('a'), SUMMARIES)).toThrow(
    expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'run_ids' }),
  );
});
