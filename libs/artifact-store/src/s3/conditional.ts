// A name in a bucket is given once: a request goes under the condition that the object is not there.
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOf, type S3Failure } from './s3-errors.js';

const FIRST_PAUSE_MS = 100;
const CONFLICTS_MAX = 4;

/** The object is there already. */
export class ObjectThere extends Error {}

/** @throws ObjectThere */
export async function conditional(send: (isConditional: boolean) => Promise<unknown>, onlyIfNew: boolean, tries = 1): Promise<void> {
  try {
    await send(onlyIfNew);
  } catch (error) {
    const status = statusOf(error as S3Failure);
    if (!onlyIfNew) throw error;
    if (status === 412) throw new ObjectThere();
    if (status === 501) return conditional(send, false); // the server does not know conditions
    // Two servers at once: the bucket has refused the later one, and the earlier one may still fail.
    if (status !== 409 || tries === CONFLICTS_MAX) throw error;
    await sleep(FIRST_PAUSE_MS * 2 ** tries);
    return conditional(send, true, tries + 1);
  }
}
