// Work on an engine for a client, with its progress as a share.
import type { EngineJobs, JobWish } from '../engine-pool/engine-jobs.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { StateKeeper } from '../retention/state-keeper.js';
import { followed, type FollowedJob } from './followed-job.js';

export type Progress<T> = { doneShare: number; doing: string } | { waitingFor: string } | { result: T };
type OnProgress = (doneShare: number, doing?: string) => void;

/** Does work on an engine. Yields the work that it waits for, then the progress, then the result. */
export async function* worked<T>(
  services: { jobs: EngineJobs; keeper: Pick<StateKeeper, 'pin' | 'release'> },
  wish: JobWish,
  pinned: string[],
  signal: AbortSignal,
  work: (bench: EngineWorkbench, onProgress: OnProgress, signal: AbortSignal) => Promise<T>,
): AsyncGenerator<Progress<T>> {
  let progress: { doneShare: number; doing: string } | null = { doneShare: 0, doing: '' };
  const job: FollowedJob<{ doneShare: number; doing: string }, T> = {
    wish,
    pinned,
    work: (bench, onNews, both) => {
      const onProgress = (doneShare: number, doing = ''): void => {
        progress = { doneShare, doing };
        onNews();
      };
      return work(bench, onProgress, both);
    },
    takeNews: () => {
      const news = progress;
      progress = null;
      return news;
    },
  };
  for await (const heard of followed(services, job, signal)) yield 'news' in heard ? heard.news : heard;
}
