import { EspalierError } from '#protocol';
import { EngineJobs } from './engine-jobs.js';
import type { EngineWorkbench } from './engine-workbench.js';

const MINUTE_MS = 60_000;
const bench = { engine: { lost: new AbortController().signal } } as unknown as EngineWorkbench;
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
