// Jobs of a session of the addon: one that is opened for a job alone, and one that a signal ends.
import { addon, mapped, toEngineError } from './load-addon.js';
import type { NativeSession } from './native.js';

export async function cancellable<T>(native: NativeSession, signal: AbortSignal | undefined, job: Promise<T>): Promise<T> {
  const cancel = (): void => native.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel);
  try {
    return await job;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

export async function withSession<T>(work: (session: NativeSession) => Promise<T>): Promise<T> {
  const session = mapped(() => new (addon().Session)());
  try {
    return await work(session);
  } catch (error) {
    throw toEngineError(error);
  } finally {
    await session.release();
  }
}
