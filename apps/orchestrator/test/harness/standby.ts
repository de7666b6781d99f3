// The parts that tests of two orchestrators on one event store share.
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { codeOf, HANGS_AFTER_MS, TestServer, unary } from './server.js';

/** The lease is long enough for a busy machine to renew it, and short enough to wait for its end. */
export const LEASE_SECONDS = 4;

/** Returns 'done', or the error of a refused call. */
export const refusal = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'done',
    (error: unknown) => error,
  );

/** Tells whether the server drives. A standby refuses to pause a run before it looks which run. */
export async function drives(server: TestServer): Promise<boolean> {
  const error = await refusal(unary<v1.PauseRunResponse>((cb) => server.runs.pauseRun({ runId: 'zzzzzz' }, cb)));
  return codeOf(error) !== 'ORCHESTRATOR_STANDBY';
}

export async function untilDriving(server: TestServer): Promise<void> {
  for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
    if (await drives(server)) return;
    await sleep(100);
  }
  throw new Error(`it never took over:\n${server.logTail()}`);
}
