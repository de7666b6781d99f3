// Tests which work goes to which slot, for given slots and waiting work.
import { NO_NUMERICS, place, type Fit, type SlotView, type WaitingJob, type WaitingRun } from './placement.js';

const slot = (name: string, more: Partial<SlotView> = {}): SlotView => ({
  name,
  state: 'free',
  isUp: true,
  problem: 'is not responding',
  runId: null,
  failures: 0,
  device: 'cpu',
  memoryPool: 'host cpu',
  promisedBytes: 0,
  sharesFiles: true,
  ...more,
});
const fit = (fingerprint = 'f', availableBytes = 100, neededBytes = 10): Fit => ({ fingerprint, neededBytes, availableBytes });
type RunParts = Partial<Omit<WaitingRun, 'fits'>> & { fits?: Record<string, Fit> };
const run = (runId: string, more: RunParts = {}): WaitingRun => ({
  runId,
  fingerprint: null,
  waitsForNumerics: false,
  lastSlot: null,
  barred: new Set(),
  ...more,
  fits: new Map(Object.entries(more.fits ?? {})),
});
const job = (id: number, more: Partial<WaitingJob> = {}): WaitingJob => ({
  ...{ id, runId: 'x', needsOurFiles: false, slot: null },
  ...more,
});
const runsOf = (...args: Parameters<typeof place>): string[] => place(...args).runs.map(({ runId, slot: name }) => `${runId} to ${name}`);

describe('runs', () => {
  it('go to free slots in the order of their turn; the rest waits for its turn without a word', () => {
    const { runs, waits } = place([slot('1'), slot('2', { state: 'taken' }), slot('3')], [run('a'), run('b'), run('c')], []);
    expect(runs).toMatchObject([
      { runId: 'a', slot: '1' },
      { runId: 'b', slot: '3' },
    ]);
    expect(waits).toEqual([]);
  });

  it('go on where they were, when that is free, else elsewhere with the same numerics', () => {
    const fits = { 1: fit(), 2: fit() };
    const goesOn = run('a', { fingerprint: 'f', lastSlot: '2', fits });
    expect(runsOf([slot('1'), slot('2')], [goesOn], [])).toEqual(['a to 2']);
    expect(runsOf([slot('1'), slot('2', { state: 'taken' })], [goesOn], [])).toEqual(['a to 1']);
  });

  it('wait for an engine with their numerics as long as there is one', () => {
    const goesOn = run('a', { fingerprint: 'f', fits: { 1: fit('other'), 2: fit('f') } });
    expect(place([slot('1'), slot('2', { state: 'taken' })], [goesOn], [])).toMatchObject({ runs: [], waits: [] });
    const { runs, waits } = place([slot('1'), slot('2', { state: 'down' })], [goesOn], []);
    expect(runs).toEqual([]);
    expect(waits).toEqual([{ runId: 'a', why: 'engine 2 is not responding' }]);
  });

  it('go to other numerics where no engine has theirs, to be refused there and told why', () => {
    const goesOn = run('a', { fingerprint: 'f', lastSlot: 'gone', fits: { 1: fit('other'), 2: fit('third') } });
    expect(runsOf([slot('1', { state: 'taken' }), slot('2')], [goesOn], [])).toEqual(['a to 2']);
  });

  it('wait for an engine with their numerics where one may come, and for the answers of those that work', () => {
    const goesOn = run('a', { fingerprint: 'f', waitsForNumerics: true, lastSlot: 'gone', fits: { 1: fit('other') } });
    expect(place([slot('1')], [goesOn], [])).toMatchObject({ runs: [], waits: [{ runId: 'a', why: NO_NUMERICS }] });
    expect(place([slot('1'), slot('2')], [goesOn], [])).toMatchObject({ runs: [], waits: [{ runId: 'a', why: NO_NUMERICS }] });
    expect(place([slot('1'), slot('2', { state: 'taken' })], [goesOn], [])).toMatchObject({ runs: [], waits: [] });
    expect(runsOf([slot('1'), slot('2')], [{ ...goesOn, fits: new Map([['2', fit('f')]]) }], [])).toEqual(['a to 2']);
    expect(runsOf([slot('1')], [{ ...goesOn, fingerprint: null }], [])).toEqual(['a to 1']);
    // The engine was not asked about a run whose turn is later.
    expect(place([slot('1')], [run('first'), { ...goesOn, fits: new Map() }], [])).toMatchObject({ runs: [{ runId: 'first' }], waits: [] });
  });

  it('wait for their former engine while it can not be asked for its numerics', () => {
    const goesOn = run('a', { fingerprint: 'f', lastSlot: '2', fits: { 1: fit('other') } });
    expect(place([slot('1'), slot('2', { state: 'down' })], [goesOn], [])).toMatchObject({ runs: [], waits: [{ runId: 'a' }] });
    expect(runsOf([slot('1'), slot('3', { state: 'down' })], [goesOn], [])).toEqual(['a to 1']);
  });

  it('prefer an engine that did not fail, an accelerator, one that runs already, and the one with more memory, in this order', () => {
    const one = run('a', { fits: { 1: fit('f', 50), 2: fit('f', 90) } });
    expect(runsOf([slot('1'), slot('2')], [one], [])).toEqual(['a to 2']);
    expect(runsOf([slot('1'), slot('2', { isUp: false })], [one], [])).toEqual(['a to 1']);
    expect(runsOf([slot('1'), slot('2', { isUp: false, device: 'cuda:0' })], [one], [])).toEqual(['a to 2']);
    expect(runsOf([slot('1'), slot('2', { device: 'cuda:0', failures: 2 })], [one], [])).toEqual(['a to 1']);
  });

  it('pass over an engine that can’t take them, unless none can', () => {
    const problem = { problem: 'there is no model in /models/x' };
    expect(runsOf([slot('1'), slot('2')], [run('a', { fits: { 1: problem, 2: fit() } })], [])).toEqual(['a to 2']);
    expect(runsOf([slot('1'), slot('2', { state: 'taken' })], [run('a', { fits: { 1: problem, 2: fit() } })], [])).toEqual([]);
    expect(runsOf([slot('1')], [run('a', { fits: { 1: problem } })], [])).toEqual(['a to 1']);
  });

  it('wait for memory while others work in the same memory, what was promised to them counting', () => {
    const needs = (runId: string): WaitingRun => run(runId, { fits: { 1: fit('f', 15), 2: fit('f', 15) } });
    const both = place([slot('1'), slot('2')], [needs('a'), needs('b')], []);
    expect(both.runs).toEqual([{ runId: 'a', slot: '1', neededBytes: 10 }]);
    expect(both.waits).toMatchObject([{ runId: 'b', why: expect.stringContaining('memory') as string }]);
    expect(runsOf([slot('1', { state: 'taken', promisedBytes: 10 }), slot('2')], [needs('b')], [])).toEqual([]);
    expect(runsOf([slot('1', { state: 'taken', memoryPool: 'host cuda:0' }), slot('2')], [needs('b')], [])).toEqual(['b to 2']);
  });

  it('that fit nowhere are placed where nothing else works, so that their engine says what is missing', () => {
    const tooLarge = run('a', { fits: { 1: fit('f', 5), 2: fit('f', 5) } });
    expect(runsOf([slot('1'), slot('2')], [tooLarge], [])).toEqual(['a to 1']);
  });

  it('wait with a reason when every engine is down', () => {
    const { waits } = place([slot('1', { state: 'down', problem: 'can’t be had: nothing answers' })], [run('a')], []);
    expect(waits).toEqual([{ runId: 'a', why: 'engine 1 can’t be had: nothing answers' }]);
  });
});

describe('jobs', () => {
  it('get a free slot before runs do, one each', () => {
    const { jobs, runs } = place([slot('1'), slot('2')], [run('a')], [job(1)]);
    expect(jobs).toEqual([{ id: 1, slot: '1', atOnce: true }]);
    expect(runs).toMatchObject([{ runId: 'a', slot: '2' }]);
  });

  it('go to the free slot that holds their run’s model', () => {
    expect(place([slot('1'), slot('2', { runId: 'x' })], [], [job(1)]).jobs).toEqual([{ id: 1, slot: '2', atOnce: true }]);
  });

  it('wait at the slot that trains their run, else at the one where the fewest wait', () => {
    const taken = [slot('1', { state: 'taken', runId: 'y' }), slot('2', { state: 'taken', runId: 'x' }), slot('3', { state: 'taken' })];
    expect(place(taken, [], [job(1), job(2, { runId: 'z' }), job(3, { runId: 'z' })]).jobs).toEqual([
      { id: 1, slot: '2', atOnce: false },
      { id: 2, slot: '1', atOnce: false },
      { id: 3, slot: '3', atOnce: false },
    ]);
  });

  it('that wait somewhere stay there until a slot is free', () => {
    const waiting = job(1, { slot: '1' });
    expect(place([slot('1', { state: 'taken' }), slot('2', { state: 'taken' })], [], [waiting]).jobs).toEqual([]);
    expect(place([slot('1', { state: 'taken' }), slot('2')], [], [waiting]).jobs).toEqual([{ id: 1, slot: '2', atOnce: true }]);
    expect(place([slot('1', { state: 'down' }), slot('2', { state: 'taken' })], [], [waiting]).jobs).toMatchObject([{ slot: '2' }]);
  });

  it('that need files of this machine go to engines on it only', () => {
    const elsewhere = slot('1', { sharesFiles: false });
    expect(place([elsewhere, slot('2', { state: 'taken' })], [], [job(1, { needsOurFiles: true })]).jobs).toEqual([
      { id: 1, slot: '2', atOnce: false },
    ]);
    expect(place([elsewhere], [], [job(1, { needsOurFiles: true })]).jobs).toEqual([]);
  });

  it('that are for a device wait for an engine that computes on it', () => {
    const [here, card] = [slot('1'), slot('2', { device: 'cuda:0', state: 'taken' })];
    const forCard = job(1, { device: 'cuda:0' });
    expect(place([here, card], [], [forCard]).jobs).toEqual([{ id: 1, slot: '2', atOnce: false }]);
    expect(place([here, slot('3', { device: '', isUp: false })], [], [forCard]).jobs).toEqual([]);
  });
});
