// Tests which jobs the fleet asks for and cancels, for given jobs, engines and waiting runs.
import { AWAY_MS, decideFleet, LOST_MS, pauseAfterFailuresMs, type FleetView, type JobView } from './fleet-decision.js';

const IDLE_MS = 60_000;
const decided = (view: Partial<FleetView>) =>
  decideFleet({
    wanted: 0,
    most: 4,
    strays: 0,
    isDrained: false,
    jobs: [],
    failures: 0,
    mayAsk: true,
    surplusForMs: 0,
    idleMs: IDLE_MS,
    ...view,
  });
const job = (id: string, stage: JobView['stage'], engine: JobView['engine'] = 'none', more: Partial<JobView> = {}): JobView => ({
  ...{ id, stage, engine, withoutEngineForMs: 0, isOutdated: false },
  ...more,
});

describe('runs that no engine can take', () => {
  it.each<[string, Partial<FleetView>, number]>([
    ['lead to a job each', { wanted: 3 }, 3],
    ['lead to as many jobs as the fleet may have', { wanted: 9 }, 4],
    ['lead to a few jobs at once, however many may be', { wanted: 60, most: 60 }, 8],
    ['count on the jobs that wait', { wanted: 2, jobs: [job('1', 'waiting')] }, 1],
    ['count on an engine that is about to join', { wanted: 1, jobs: [job('1', 'running')] }, 0],
    ['count on a free engine that has just joined', { wanted: 1, jobs: [job('1', 'running', 'free')] }, 0],
    ['do not count on an engine that trains', { wanted: 1, jobs: [job('1', 'running', 'busy')] }, 1],
    ['give one that was cut off time to come back', { wanted: 1, jobs: [job('1', 'running', 'away')] }, 0],
    ['then count on it no more', { wanted: 1, jobs: [job('1', 'running', 'away', { withoutEngineForMs: AWAY_MS })] }, 1],
    [
      'stay within the most, though an engine was cut off',
      { wanted: 1, most: 1, jobs: [job('1', 'running', 'away', { withoutEngineForMs: AWAY_MS })] },
      0,
    ],
    ['wait for the end of the pause after a failure', { wanted: 3, failures: 2, mayAsk: false }, 0],
    ['lead to a single job after a failure', { wanted: 3, failures: 2 }, 1],
    ['lead to none where none waits', { wanted: 0 }, 0],
    ['leave strays their places', { wanted: 3, strays: 3 }, 1],
    ['lead to none where strays take all places', { wanted: 3, strays: 5, jobs: [job('1', 'waiting')] }, 0],
  ])('%s', (_, view, submit) => {
    expect(decided(view)).toMatchObject({ submit, cancel: [] });
  });
});

describe('a job that waits', () => {
  const jobs = [job('1', 'waiting'), job('2', 'waiting'), job('3', 'waiting')];

  it('stays for a while when no run needs it any more', () => {
    expect(decided({ jobs, wanted: 1, surplusForMs: IDLE_MS - 1 })).toEqual({ submit: 0, cancel: [], surplus: 2 });
  });

  it('is cancelled then, the last one first', () => {
    expect(decided({ jobs, wanted: 1, surplusForMs: IDLE_MS }).cancel).toEqual(['2', '3']);
  });

  it('is cancelled and asked for again where it was asked for with other settings', () => {
    expect(decided({ wanted: 1, most: 1, jobs: [job('1', 'waiting', 'none', { isOutdated: true })] })).toMatchObject({
      submit: 1,
      cancel: ['1'],
    });
  });
});

it('beyond a smaller number that was set, the last jobs that wait are cancelled; those that run, and strays, cost none', () => {
  const jobs = [job('1', 'running', 'busy'), job('2', 'waiting'), job('3', 'waiting')];
  expect(decided({ wanted: 3, most: 2, jobs }).cancel).toEqual(['3']);
  expect(decided({ wanted: 3, most: 0, jobs: [job('1', 'running', 'busy')] }).cancel).toEqual([]);
  expect(decided({ wanted: 2, most: 3, strays: 3, jobs }).cancel).toEqual([]);
});

it('a fleet that is drained asks for no job, and cancels those without work', () => {
  const jobs = [
    job('1', 'waiting'),
    job('2', 'running'),
    job('3', 'running', 'free'),
    job('4', 'running', 'busy'),
    job('5', 'running', 'away'),
  ];
  expect(decided({ wanted: 9, most: 9, isDrained: true, jobs })).toEqual({ submit: 0, cancel: ['1', '2', '3'], surplus: 0 });
});

describe('a job that runs', () => {
  it('is not cancelled when no run needs it: its engine ends by itself', () => {
    expect(decided({ jobs: [job('1', 'running', 'free'), job('2', 'running')], surplusForMs: 10 * IDLE_MS }).cancel).toEqual([]);
  });

  it('is not cancelled for other settings: it works', () => {
    expect(decided({ jobs: [job('1', 'running', 'busy', { isOutdated: true })] }).cancel).toEqual([]);
  });

  it.each(['none', 'away'] as const)('makes room for another where its engine (%s) does not come', (engine) => {
    const lost = job('1', 'running', engine, { withoutEngineForMs: LOST_MS });
    expect(decided({ wanted: 1, most: 1, jobs: [lost] })).toMatchObject({ submit: 1, cancel: ['1'] });
  });
});

it('after failures the pauses grow, and end', () => {
  expect([0, 1, 2, 3, 20].map(pauseAfterFailuresMs)).toEqual([0, 5_000, 10_000, 20_000, 600_000]);
});
