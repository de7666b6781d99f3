// Tests names, tags and notes of a run on the real server: runs are found by them, and names that would mislead are refused.
import { v1 } from '#protocol';
import { codeOf, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
let run: v1.Run;
beforeAll(async () => {
  await server.start();
  run = await server.launch({ totalSteps: 20 }, { requestId: 'one', tags: ['sweep', '7b', 'sweep'], note: 'twice the rate' });
});
afterAll(() => server.dispose());

const describing = (request: Partial<v1.DescribeRunRequest>): Promise<v1.Run> =>
  unary<v1.DescribeRunResponse>((done) =>
    server.runs.describeRun(v1.DescribeRunRequest.fromPartial({ runId: run.runId, ...request }), done),
  ).then(({ run }) => run!);
const idsWith = (...tags: string[]): Promise<string[]> =>
  unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({ tags }), done)).then(({ runs }) =>
    runs.map(({ runId }) => runId),
  );

it('is launched with tags and a note, and found by all of its tags', async () => {
  expect(run).toMatchObject({ tags: ['7b', 'sweep'], note: 'twice the rate' });
  await server.launch({ totalSteps: 20 }, { tags: ['sweep'] });
  expect(await idsWith('sweep')).toHaveLength(2);
  expect(await idsWith('7b', 'sweep')).toEqual([run.runId]);
  expect(await idsWith('7b', 'other')).toEqual([]);
  expect(await idsWith('7')).toEqual([]);
});

it('is the same launch with the same tags only', async () => {
  const again = (tags: string[]): Promise<string> =>
    server.launch({ totalSteps: 20 }, { requestId: 'one', tags, note: 'twice the rate' }).then(({ runId }) => runId, codeOf);
  expect(await again(['7b', 'sweep'])).toBe(run.runId);
  expect(await again(['7b'])).toBe('REQUEST_ID_REUSED');
});

it('is described again while it trains or when it has ended, and ends as it would have', async () => {
  expect(await describing({ name: 'baseline', addTags: ['kept'], removeTags: ['7b'], note: '' })).toMatchObject({
    name: 'baseline',
    tags: ['kept', 'sweep'],
    note: '',
  });
  await server.completed(run.runId);
  expect((await describing({ runId: 'baseline', name: 'the baseline' })).runId).toBe(run.runId);
  const described = (await server.events(run.runId)).filter(({ type }) => type === 'RunDescribed');
  expect(described.map(({ summary }) => summary)).toEqual([
    'named baseline; tagged kept; no longer tagged 7b; note removed',
    'named the baseline',
  ]);
});

it('takes no name that another run has; a launch or a fork with one is warned', async () => {
  const other = await server.launch({ totalSteps: 20 }, { name: 'taken' });
  await expect(describing({ name: 'taken' })).rejects.toMatchObject({
    code: 'RUN_NAME_TAKEN',
    field: 'name',
    message: expect.stringContaining(other.runId) as string,
  });
  expect((await describing({ name: run.name })).name).toBe(run.name); // the run may keep its own name
  const from = { $case: 'lastState' as const, value: true };
  await server.completed(run.runId);
  const request = v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from, name: 'taken', settings: { totalSteps: 30 } });
  const fork = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  expect(fork.warnings).toContainEqual(expect.objectContaining({ code: 'NAME_TAKEN', field: 'name' }));
  expect(fork.warnings.find(({ code }) => code === 'NAME_TAKEN')!.message).toContain(other.runId);
});

it.each<[string, Partial<v1.DescribeRunRequest>, string]>([
  ['10,000 tags', { addTags: Array.from({ length: 10_000 }, (_, index) => `t${index}`) }, 'add_tags'],
  ['a tag of two words', { addTags: ['two words'] }, 'add_tags[0]'],
  ['a tag that is longer than any screen', { addTags: ['x'.repeat(65)] }, 'add_tags[0]'],
  ['a tag both put on and taken off', { addTags: ['x'], removeTags: ['x'] }, 'remove_tags'],
  ['a note that acts upon a terminal', { note: 'fine \u001b[2J' }, 'note'],
  ['a note of two lines', { note: 'one\ntwo' }, 'note'],
  ['a book for a note', { note: 'x'.repeat(2_001) }, 'note'],
  ['a name that is longer than any screen', { name: 'x'.repeat(201) }, 'name'],
  ['a name of two lines', { name: 'one\ntwo' }, 'name'],
  ['a name that is written backwards', { name: 'abc\u202edef' }, 'name'],
])('refuses %s', async (_, request, field) => {
  await expect(describing(request)).rejects.toMatchObject({ violations: [{ field }] });
});
