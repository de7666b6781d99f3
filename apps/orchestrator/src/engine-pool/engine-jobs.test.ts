import { EspalierError } from '#protocol';
import { EngineJobs } from './engine-jobs.js';
import { EngineNotReachedError } from '../engines/wire/engine-errors.js';
import type { EngineWorkbench } from './engine-workbench.js';

const MINUTE_MS = 60_000;
const bench = {
  engine: { lost: new AbortController().signal, client: { heardAtMs: 0, onceBack: (work: () => unknown) => work() } },
} as unknown as EngineWorkbench;
const slot = { name: 'engine-1', doing: '' };

/** Submits a job that ends only when it is aborted, and begins it at a slot. */
function begun(jobs: EngineJobs, isWanted: () => boolean): { result: Promise<string>; all: Promise<void> } {
  const endless = (_: unknown, signal: AbortSignal): Promise<string> =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('stopped'))));
  const { result } = jobs.submit(endless, { runId: 'abcd', needsOurFiles: false, doing: 'an evaluation' }, new AbortController().signal);
  jobs.assign(jobs.waiting[0]!.id, slot);
  return { result, all: jobs.runAllAt(slot, bench, isWanted) };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test('a job holds an engine for as long as it likes where no run waits, and gives way to one after its time', async () => {
  let wanted = false;
  const { result, all } = begun(new EngineJobs({ jobMinutes: 10 }), () => wanted);
  let ended: unknown = null;
  result.catch((error: unknown) => (ended = error));
  await jest.advanceTimersByTimeAsync(100 * MINUTE_MS);
  expect(ended).toBeNull();
  wanted = true;
  await jest.advanceTimersByTimeAsync(1_000);
  await all;
  expect(ended).toBeInstanceOf(EspalierError);
  expect(ended).toMatchObject({ code: 'JOB_GAVE_WAY', message: expect.stringContaining('10 minutes') as string });
});

test('a run waits for a job that has not had its time', async () => {
  const { result, all } = begun(new EngineJobs({ jobMinutes: 10 }), () => true);
  let isEnded = false;
  result.catch(() => (isEnded = true));
  await jest.advanceTimersByTimeAsync(10 * MINUTE_MS - 1_000);
  expect(isEnded).toBe(false);
  await jest.advanceTimersByTimeAsync(2_000);
  await all;
  expect(isEnded).toBe(true);
});

describe('an engine that is lost', () => {
  const wish = { runId: 'abcd', needsOurFiles: false, doing: 'an evaluation' };
  const notReached = new EngineNotReachedError(new Error('connect ECONNREFUSED'));
  /** An engine that only records and answers the calls of a job. */
  function engine(): { bench: EngineWorkbench; client: { heardAtMs: number }; lose: () => void } {
    const [lost, client] = [new AbortController(), { heardAtMs: 0, onceBack: (work: () => unknown) => work() }];
    const lose = (): void => lost.abort(new EspalierError('ENGINE_LOST', 'killed by SIGKILL'));
    return { bench: { engine: { lost: lost.signal, client } } as unknown as EngineWorkbench, client, lose };
  }
  function submitted(jobs: EngineJobs, work: (bench: EngineWorkbench) => Promise<string>): Promise<string> {
    const { result } = jobs.submit(work, wish, new AbortController().signal);
    jobs.assign(jobs.waiting.at(-1)!.id, slot);
    return result;
  }

  test('the job of which it got nothing, and those behind it, wait in their order for the next engine', async () => {
    const jobs = new EngineJobs({ jobMinutes: 10 });
    const [dying, next] = [engine(), engine()];
    const ran: string[] = [];
    const work = (name: string) => (at: EngineWorkbench) => {
      if (at === dying.bench) return Promise.reject(notReached);
      ran.push(name);
      return Promise.resolve(name);
    };
    const results = [submitted(jobs, work('first')), submitted(jobs, work('second'))];
    const all = jobs.runAllAt(slot, dying.bench, () => false);
    await jest.advanceTimersByTimeAsync(10);
    dying.lose();
    await all;
    expect(jobs.waitingAt(slot.name)).toBe(2);
    await jobs.runAllAt(slot, dying.bench, () => false); // an engine that is known to be lost gets no job
    expect(ran).toEqual([]);
    await jobs.runAllAt(slot, next.bench, () => false);
    expect(await Promise.all(results)).toEqual(['first', 'second']);
    expect(ran).toEqual(['first', 'second']);
  });

  test('a job that it had begun fails, also where only a later call did not reach it', async () => {
    const jobs = new EngineJobs({ jobMinutes: 10 });
    const { bench: at, client } = engine();
    const result = submitted(jobs, () => {
      client.heardAtMs = 1;
      return Promise.reject(notReached);
    });
    await Promise.all([expect(result).rejects.toMatchObject({ code: 'ENGINE_LOST' }), jobs.runAllAt(slot, at, () => false)]);
    expect(jobs.waiting).toEqual([]);
  });
});
