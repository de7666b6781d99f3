// A job for an engine as its client follows it: the work that it waits for, its news, and its result.
import { EspalierError } from '#protocol';
import type { EngineJobs, JobWish } from '../engine-pool/engine-jobs.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { StateKeeper } from '../retention/state-keeper.js';

/** How often the words for the waiting are looked at. The engine sends no message when it goes on to its next work. */
const LOOK_AGAIN_MS = 500;

export type Followed<News, Result> = { waitingFor: string } | { news: News } | { result: Result };

export interface FollowedJob<News, Result> {
  wish: JobWish;
  /** The digests of artifacts that stay until the job's end. The work may add more. */
  pinned: string[];
  /** @param onNews call it when there is news */
  work(bench: EngineWorkbench, onNews: () => void, signal: AbortSignal): Promise<Result>;
  /** Returns the news since the last call, or null. A slow client gets less news, or more at once. */
  takeNews(): News | null;
}

/** Submits the job and yields what its client learns. If the client leaves, the job ends. */
export async function* followed<News, Result>(
  { jobs, keeper }: { jobs: EngineJobs; keeper: Pick<StateKeeper, 'pin' | 'release'> },
  { wish, pinned, work, takeNews }: FollowedJob<News, Result>,
  signal: AbortSignal,
): AsyncGenerator<Followed<News, Result>> {
  for (const digest of [...pinned]) await keeper.pin(digest);
  const gone = new AbortController();
  const changed = new Signal();
  let started = false;
  let settled = false;
  const begin = (bench: EngineWorkbench, both: AbortSignal): Promise<Result> => {
    started = true;
    changed.notify();
    return work(bench, () => changed.notify(), both);
  };
  const job = jobs.submit(begin, wish, AbortSignal.any([signal, gone.signal]), () => changed.notify());
  const end = (): void => {
    settled = true;
    changed.notify();
  };
  const ended = job.result.then(end, end);
  /** The engine calls a call that was cancelled a lost one. The client who cancelled the job hears what it did. */
  const resultOf = (result: Promise<Result>): Promise<Result> =>
    result.catch((error: unknown) => {
      throw signal.aborted ? new EspalierError('CANCELLED', `${wish.doing} was cancelled`, { cause: error }) : error;
    });
  try {
    let lastWait = '';
    while (!settled) {
      await changed.wait(LOOK_AGAIN_MS);
      const waitingFor = started ? '' : job.waitingFor;
      const news = started ? takeNews() : null;
      if (news !== null) yield { news };
      else if (waitingFor !== '' && waitingFor !== lastWait) yield { waitingFor };
      lastWait = waitingFor;
    }
    const last = takeNews();
    if (last !== null) yield { news: last };
    yield { result: await resultOf(job.result) };
  } finally {
    gone.abort();
    void ended.then(() => pinned.forEach((digest) => keeper.release(digest)));
  }
}

/** Wakes the one that waits, once for all notices since it last waited. */
class Signal {
  private isNoticed = true;
  private wake: () => void = () => undefined;

  notify(): void {
    this.isNoticed = true;
    this.wake();
  }

  async wait(atMostMs: number): Promise<void> {
    if (!this.isNoticed) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, atMostMs).unref();
      });
      clearTimeout(timer);
    }
    this.isNoticed = false;
  }
}
