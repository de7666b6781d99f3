import { EspalierError, v1 } from '#protocol';
import { BackgroundJobs, type JobResult, type Work } from './background-jobs.js';
import type { Progress } from './work.js';
import { notesIn, withFolders } from './testing.js';

const newFolder = withFolders();
const CALLER = { actor: 'a caller', roles: [] };
const WORK: Work = { $case: 'bench', value: v1.BenchRunRequest.fromPartial({ runId: 'run', teacherMark: 7 }) };
const log = { info: () => undefined, warn: () => undefined };
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A job that reports its next news each time when `next` is called. */
function stepped(all: readonly Progress<JobResult>[], failure?: EspalierError) {
  const waiting: (() => void)[] = [];
  let ended = false;
  async function* begin(signal: AbortSignal): AsyncGenerator<Progress<JobResult>> {
    try {
      for (const [index, news] of all.entries()) {
        if (index > 0)
          await new Promise<void>((resolve, reject) => {
            waiting.push(resolve);
            signal.addEventListener('abort', () => reject(new EspalierError('CANCELLED', 'the client went away')));
          });
        yield news;
      }
      if (failure !== undefined) throw failure;
    } finally {
      ended = true;
    }
  }
  const next = async (): Promise<void> => {
    waiting.shift()!();
    await turn();
  };
  return { begin, next, hasEnded: () => ended };
}
const half = { doneShare: 0.5, doing: 'boolq, 1 of 2' };

describe('a job of a run', () => {
  test('goes on without a client, tells how far it is, and keeps its result', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const { begin, next } = stepped([{ waitingFor: 'run abcd trains' }, half, { result: { evaluations: [] } }]);
    const job = await jobs.start('run', WORK, CALLER, begin);
    expect(job).toMatchObject({ state: 'running', waitingFor: 'run abcd trains', endedAt: null });
    await next();
    expect(jobs.all('run')).toMatchObject([{ jobId: job.jobId, doneShare: 0.5, doing: 'boolq, 1 of 2', waitingFor: '' }]);
    await next();
    expect(jobs.all(null)).toMatchObject([
      { state: 'done', doneShare: 1, doing: '', result: { evaluations: [] }, endedAt: expect.any(Date) },
    ]);
    expect(jobs.all('another')).toEqual([]);
  });

  test('that is refused at once is not a job', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const refusal = new EspalierError('FIELD_REQUIRED', 'tasks: is empty');
    await expect(jobs.start('run', WORK, CALLER, stepped([], refusal).begin)).rejects.toBe(refusal);
    expect(jobs.all(null)).toEqual([]);
  });

  test('that fails later says why', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const { begin, next } = stepped([half, half], new EspalierError('ENGINE_LOST', 'the engine is gone'));
    await jobs.start('run', WORK, CALLER, begin);
    await next();
    expect(jobs.all('run')).toMatchObject([{ state: 'failed', failure: { code: 'ENGINE_LOST' } }]);
  });

  test('that was under way when the server ended is listed as lost by the next one; one that had ended is not', async () => {
    const folder = newFolder();
    const jobs = new BackgroundJobs(log, notesIn(folder));
    const ended = stepped([half, half]);
    await jobs.start('run', WORK, CALLER, ended.begin);
    await ended.next();
    const { jobId } = await jobs.start('run', WORK, CALLER, stepped([half, half]).begin);
    jobs.onModuleDestroy(); // as a server that stops; a killed one comes no further than here
    const [lost, ...more] = new BackgroundJobs(log, notesIn(folder)).all('run');
    expect(lost).toMatchObject({ jobId, work: WORK, state: 'failed', failure: { code: 'JOB_LOST' }, startedBy: 'a caller' });
    expect(more).toEqual([]);
  });

  test('that is cancelled ends its work, and stays cancelled', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const { begin, hasEnded } = stepped([half, half]);
    const { jobId } = await jobs.start('run', WORK, CALLER, begin);
    expect(jobs.cancel(jobId)).toMatchObject({ state: 'cancelled' });
    await turn();
    expect(hasEnded()).toBe(true);
    expect(jobs.all('run')).toMatchObject([{ state: 'cancelled', failure: null }]);
    expect(() => jobs.cancel('nowhere')).toThrow(expect.objectContaining({ code: 'JOB_NOT_FOUND' }));
  });

  test('is ended with the server', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const { begin, hasEnded } = stepped([half, half]);
    await jobs.start('run', WORK, CALLER, begin);
    jobs.onModuleDestroy();
    await turn();
    expect(hasEnded()).toBe(true);
  });

  test('is refused where too many are under way; of those that have ended the last hundred are kept, the latest first', async () => {
    const jobs = new BackgroundJobs(log, notesIn(newFolder()));
    const long = await Promise.all(Array.from({ length: 64 }, () => jobs.start('run', WORK, CALLER, stepped([half, half]).begin)));
    await expect(jobs.start('run', WORK, CALLER, stepped([half]).begin)).rejects.toMatchObject({ code: 'TOO_MANY_CALLS' });
    jobs.cancel(long[0]!.jobId);
    for (let one = 0; one < 100; one += 1) await jobs.start('short', WORK, CALLER, stepped([half]).begin);
    const last = await jobs.start('last', WORK, CALLER, stepped([half]).begin);
    await turn();
    expect(jobs.all(null)[0]!.jobId).toBe(last.jobId);
    expect(jobs.all(null).filter(({ state }) => state === 'running')).toHaveLength(63);
    expect(jobs.all(null).length).toBeLessThanOrEqual(63 + 101);
    expect(jobs.all('run').some(({ jobId }) => jobId === long[0]!.jobId)).toBe(false);
    jobs.onModuleDestroy();
  });
});
