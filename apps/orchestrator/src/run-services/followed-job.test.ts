import { EspalierError } from '#protocol';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { followed, type FollowedJob } from './followed-job.js';

const wish = { runId: 'run', needsOurFiles: false, doing: 'a measurement' };
const bench = {
  engine: { lost: new AbortController().signal, client: { heardAtMs: 0, onceBack: (work: () => unknown) => work() } },
} as unknown as EngineWorkbench;

function follow(job: Partial<FollowedJob<number, string>>, signal = new AbortController().signal) {
  const jobs = new EngineJobs();
  const pins: string[] = [];
  const keeper = {
    pin: (digest: string) => Promise.resolve(void pins.push(digest)),
    release: (digest: string) => void pins.splice(pins.indexOf(digest), 1),
  };
  const whole = { wish, pinned: ['digest'], work: () => Promise.resolve('done'), takeNews: () => null, ...job };
  return { jobs, pins, heard: followed({ jobs, keeper }, whole, signal) };
}

test('a client hears what its job waits for, then its news, then its result', async () => {
  let news: number | null = 0;
  let finish: (result: string) => void = () => undefined;
  let tell: () => void = () => undefined;
  const { jobs, pins, heard } = follow({
    work: (_bench, ring) => {
      tell = ring;
      return new Promise((resolve) => (finish = resolve));
    },
    takeNews: () => {
      const taken = news;
      news = null;
      return taken;
    },
  });
  const first = heard.next();
  await new Promise(setImmediate);
  jobs.assign(1, { name: 'engine-1', doing: 'run abcd trains' });
  expect((await first).value).toEqual({ waitingFor: 'run abcd trains' });
  const second = heard.next();
  void jobs.runAllAt({ name: 'engine-1', doing: '' }, bench, () => false);
  expect((await second).value).toEqual({ news: 0 });
  const third = heard.next();
  [1, 2].forEach((share) => {
    news = share;
    tell();
  });
  expect((await third).value).toEqual({ news: 2 });
  news = 3;
  finish('measured');
  expect((await heard.next()).value).toEqual({ news: 3 });
  expect(pins).toEqual(['digest']);
  expect((await heard.next()).value).toEqual({ result: 'measured' });
  expect((await heard.next()).done).toBe(true);
  await new Promise(setImmediate);
  expect(pins).toEqual([]);
});

test('a client that leaves ends the job, and lets go of its artifacts', async () => {
  let ended = false;
  const { jobs, pins, heard } = follow({
    work: (_bench, _tell, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => {
          ended = true;
          reject(new Error('gone'));
        }),
      ),
    takeNews: () => 1,
  });
  const first = heard.next();
  await new Promise(setImmediate);
  jobs.assign(1, { name: 'engine-1', doing: '' });
  void jobs.runAllAt({ name: 'engine-1', doing: '' }, bench, () => false);
  await first;
  await heard.return(undefined);
  await new Promise(setImmediate);
  expect([ended, pins]).toEqual([true, []]);
});

test('a job that fails is told as its error', async () => {
  const { jobs, heard } = follow({ work: () => Promise.reject(new Error('no memory')) });
  const result = heard.next();
  await new Promise(setImmediate);
  jobs.assign(1, { name: 'engine-1', doing: '' });
  void jobs.runAllAt({ name: 'engine-1', doing: '' }, bench, () => false);
  await expect(result).rejects.toThrow('no memory');
});

test('a job that its client cancels says so, whatever the engine calls it', async () => {
  const client = new AbortController();
  const { jobs, heard } = follow(
    {
      work: (_bench, _tell, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new EspalierError('ENGINE_LOST', 'no answer')))),
      takeNews: () => null,
    },
    client.signal,
  );
  const result = heard.next();
  await new Promise(setImmediate);
  jobs.assign(1, { name: 'engine-1', doing: '' });
  void jobs.runAllAt({ name: 'engine-1', doing: '' }, bench, () => false);
  client.abort();
  await expect(result).rejects.toMatchObject({ code: 'CANCELLED', message: 'a measurement was cancelled' });
});
