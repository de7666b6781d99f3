// An object of a bucket is written once: each request has the condition that the object does not exist.
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOf, type S3Failure } from './s3-errors.js';

const FIRST_PAUSE_MS = 100;
const CONFLICTS_MAX = 4;

/** The object exists already. */
export class ObjectThere extends Error {}

/** Sends a request, with the condition if `onlyIfNew`. @throws ObjectThere */
export async function conditional(send: (isConditional: boolean) => Promise<unknown>, onlyIfNew: boolean, tries = 1): Promise<void> {
  try {
    await send(onlyIfNew);
  } catch (error) {
    const status = statusOf(error as S3Failure);
    if (!onlyIfNew) throw error;
    if (status === 412) throw new ObjectThere();
    if (status === 501) return conditional(send, false); // the server does not support conditions
    // Two servers write at once: the bucket has refused the later one, and the earlier one may still fail.
    if (status !== 409 || tries === CONFLICTS_MAX) throw error;
    await sleep(FIRST_PAUSE_MS * 2 ** tries);
    return conditional(send, true, tries + 1);
  }
}
