// Tests which jobs the fleet knows to have ended, and which engines take a place, after given looks at a cluster.
import { FleetJobs, type EngineLook } from './fleet-jobs.js';
import type { JobFact } from './job-host.js';

const fact = (id: string, more: Partial<JobFact> = {}): JobFact => ({
  ...{ id, engine: `e${id}`, stage: 'running', state: 'RUNNING', reason: '', node: 'n1', isOutdated: false, owner: 'fleet', account: '' },
  ...more,
});
const over = (id: string, state: string): JobFact => fact(id, { stage: 'over', state });
const none: EngineLook = () => null;
const here: EngineLook = () => 'busy';

let jobs: FleetJobs;
beforeEach(() => {
  jobs = new FleetJobs();
  jobs.update([], none, 0);
});

it('a job that ended between two looks has ended without its engine', () => {
  jobs.asked('1', 'e1', '');
  expect(jobs.update([over('1', 'FAILED')], none, 1)).toMatchObject([{ id: '1', state: 'FAILED', hasJoined: false }]);
  expect([jobs.all, jobs.ended.map(({ id }) => id)]).toEqual([[], ['1']]);
  expect(jobs.update([over('1', 'FAILED')], none, 2)).toEqual([]);
});

it('one whose engine was here between two looks has not failed', () => {
  jobs.asked('1', 'e1', '');
  expect([jobs.noteJoined(here, 0), jobs.noteJoined(here, 0)].map(({ length }) => length)).toEqual([1, 0]);
  expect(jobs.update([over('1', 'COMPLETED')], none, 1)).toMatchObject([{ hasJoined: true }]);
});

it.each<[string, string, number, boolean]>([
  ['failed soon after its engine joined', 'FAILED', 5_000, true],
  ['ended in good order', 'COMPLETED', 5_000, false],
  ['was taken away', 'PREEMPTED', 5_000, false],
  ['failed after its engine had lasted', 'FAILED', 120_000, false],
])('a job that %s', (_, state, atMs, hasFailed) => {
  jobs.asked('1', 'e1', '');
  jobs.noteJoined(here, 0);
  expect(jobs.lasting(atMs).length).toBe(atMs > 60_000 ? 1 : 0);
  const [ended] = jobs.update([over('1', state)], none, atMs);
  expect(jobs.hasFailed(ended!, atMs)).toBe(hasFailed);
});

it('a job that a person cancelled has not failed', () => {
  jobs.asked('1', 'e1', '');
  jobs.cancelled(['1']);
  expect(jobs.update([over('1', 'CANCELLED')], none, 1).map((job) => jobs.hasFailed(job, 1))).toEqual([false]);
});

it('one that is no longer listed is gone', () => {
  jobs.asked('1', 'e1', '');
  expect(jobs.update([], none, 1)).toMatchObject([{ id: '1', state: 'GONE' }]);
});

it('one that was given up takes a place for as long as its engine is here', () => {
  jobs.update([fact('1')], here, 0);
  for (const listed of [[over('1', 'NODE_FAIL')], []]) {
    expect(jobs.update(listed, here, 1)).toEqual([]);
    expect(jobs.views(here, ({ account }) => account, 1)).toMatchObject([{ id: '1', engine: 'busy' }]);
  }
  expect(jobs.update([], () => 'away', 2)).toMatchObject([{ id: '1' }]);
});

it('a job of a former life of the server is found again; one that is over is not told of', () => {
  const restarted = new FleetJobs();
  expect(restarted.update([fact('9'), fact('10'), over('3', 'FAILED')], none, 5)).toEqual([]);
  expect(restarted.all.map(({ id, hasJoined }) => [id, hasJoined])).toEqual([
    ['9', true],
    ['10', true],
  ]);
  expect(restarted.views(none, ({ account }) => account, 8)).toMatchObject([
    { engine: 'none', withoutEngineForMs: 3 },
    { withoutEngineForMs: 3 },
  ]);
});

it('a job that we cancelled is counted no more, though it is still listed', () => {
  jobs.asked('1', 'e1', '');
  jobs.cancelled(['1']);
  jobs.update([fact('1')], none, 1);
  expect(jobs.views(none, ({ account }) => account, 1)).toEqual([]);
});
