// Tests which jobs the fleet asks for and cancels, for given jobs, engines and waiting runs.
import { AWAY_MS, decideFleet, LOST_MS, pauseAfterFailuresMs, type FleetView, type JobView, type LaneView } from './fleet-decision.js';

const IDLE_MS = 60_000;
type Given = Partial<Omit<FleetView, 'wanted' | 'lane'>> & Partial<LaneView> & { wanted?: number };
/** Decides for runs and jobs that are all of one lane. */
const decided = ({ wanted = 0, failures = 0, mayAsk = true, surplusForMs = 0, ...view }: Given) => {
  const lane = { failures, mayAsk, surplusForMs, idleMs: IDLE_MS };
  const runs = Array.from({ length: wanted }, () => ['cpu/']);
  const { submit, surplus, cancel } = decideFleet({
    ...{ wanted: runs, most: 4, strays: 0, isDrained: false, jobs: [], lane: () => lane },
    ...view,
  });
  return { submit: submit.length, cancel, surplus: surplus.get('cpu/') ?? 0 };
};
const job = (id: string, stage: JobView['stage'], engine: JobView['engine'] = 'none', more: Partial<JobView> = {}): JobView => ({
  ...{ id, lane: 'cpu/', stage, engine, withoutEngineForMs: 0, isOutdated: false },
  ...more,
});

describe('runs that no engine can take', () => {
  it.each<[string, Given, number]>([
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

describe('with several kinds of job', () => {
  const [cpu, gpu, either] = [['cpu/'], ['gpu/'], ['cpu/', 'gpu/']];
  const of = (lane: string, more: Partial<JobView> = {}): JobView => job(`${lane}1`, 'waiting', 'none', { lane, ...more });
  const steady: LaneView = { failures: 0, mayAsk: true, surplusForMs: 0, idleMs: IDLE_MS };
  const among = (view: Partial<FleetView>, lanes: Record<string, Partial<LaneView>> = {}) =>
    decideFleet({
      ...{ wanted: [], most: 4, strays: 0, isDrained: false, jobs: [], lane: (key) => ({ ...steady, ...lanes[key] }) },
      ...view,
    });

  it.each<[string, Partial<FleetView>, string[]]>([
    ['a run gets the first kind of job that can take it', { wanted: [gpu, either, cpu] }, ['gpu/', 'cpu/', 'cpu/']],
    ['they share the most engines, in the order of turns', { wanted: [gpu, cpu, gpu], most: 2 }, ['gpu/', 'cpu/']],
    ['a job under way is no use to a run that it can not take', { wanted: [gpu], jobs: [of('cpu/')] }, ['gpu/']],
    ['a run counts on a job of a kind that is not its first', { wanted: [either], jobs: [of('gpu/')] }, []],
    ['a run that has no choice counts on it before others', { wanted: [either, gpu], jobs: [of('gpu/')] }, ['cpu/']],
    ['jobs that run take places of all kinds', { wanted: [gpu], most: 1, jobs: [of('cpu/', { stage: 'running', engine: 'free' })] }, []],
  ])('%s', (_, view, submit) => {
    expect(among(view).submit).toEqual(submit);
  });

  it('a run turns to the next kind while the first is in a pause', () => {
    expect(among({ wanted: [either, cpu] }, { 'cpu/': { mayAsk: false } }).submit).toEqual(['gpu/']);
  });

  it('a kind that fails holds up no other', () => {
    expect(among({ wanted: [cpu, cpu, gpu, gpu] }, { 'cpu/': { failures: 1 } }).submit).toEqual(['cpu/', 'gpu/', 'gpu/']);
  });

  it('a job of a kind that no run needs is cancelled after a while, and those of other kinds stay', () => {
    const jobs = [of('cpu/'), of('gpu/')];
    const lanes = { 'gpu/': { surplusForMs: IDLE_MS } };
    expect(among({ wanted: [cpu], jobs }, lanes)).toEqual({ submit: [], cancel: ['gpu/1'], surplus: new Map([['gpu/', 1]]) });
  });
});

it('after failures the pauses grow, and end', () => {
  expect([0, 1, 2, 3, 20].map(pauseAfterFailuresMs)).toEqual([0, 5_000, 10_000, 20_000, 600_000]);
});
