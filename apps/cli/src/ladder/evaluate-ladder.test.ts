// Tests that the command line follows the server's job for a ladder to its end.
import { v1 } from '#protocol';
import { evaluateLadder } from './evaluate-ladder.js';

const { LADDER_STATE_RUNNING: running, LADDER_STATE_DONE: done } = v1.LadderState;
const { LADDER_STATE_CANCELLED: cancelled, LADDER_STATE_FAILED: failed } = v1.LadderState;
const job = (state: v1.LadderState, more: Partial<v1.LadderJob> = {}): v1.LadderJob =>
  v1.LadderJob.fromPartial({ runId: 'run', state, models: 3, ...more });

/**
 * @param found the server's answers about the job, one after the other
 * @param stopAt the pause in which Ctrl-C is pressed
 */
function server(started: v1.LadderJob, found: (v1.LadderJob | undefined)[], stopAt = Number.POSITIVE_INFINITY) {
  const calls: string[] = [];
  const interrupt = new AbortController();
  const shown: number[] = [];
  const said = <T>(name: string, answer: T): Promise<T> => {
    calls.push(name);
    return Promise.resolve(answer);
  };
  const evaluated = evaluateLadder(
    {
      start: () => said('start', started),
      get: () => said('get', found.shift()),
      cancel: () => said('cancel', undefined),
      pause: async () => {
        await said('pause', undefined);
        if (calls.filter((name) => name === 'pause').length === stopAt) interrupt.abort(new Error('told to stop'));
        interrupt.signal.throwIfAborted();
      },
    },
    { onProgress: (progress) => shown.push(progress.evaluated), signal: interrupt.signal },
  );
  return { evaluated, calls, shown };
}

test('it waits until all models are evaluated', async () => {
  const { evaluated, calls, shown } = server(job(running), [undefined, job(running, { evaluated: 2 }), job(done, { evaluated: 3 })]);
  await evaluated;
  expect(calls).toEqual(['get', 'start', 'pause', 'get', 'pause', 'get']);
  expect(shown).toEqual([0, 2]);
});

test('a job that ends at once is not waited for', async () => {
  const { evaluated, calls } = server(job(done, { models: 0 }), [undefined]);
  await evaluated;
  expect(calls).toEqual(['get', 'start']);
});

test("another client's job is waited for, then the models that it left out are evaluated", async () => {
  const { evaluated, calls, shown } = server(job(done), [job(running, { evaluated: 2 }), job(cancelled)]);
  await evaluated;
  expect(calls).toEqual(['get', 'pause', 'get', 'start']);
  expect(shown).toEqual([0]);
});

test('Ctrl-C cancels its own job', async () => {
  const { evaluated, calls } = server(job(running), [undefined], 1);
  await expect(evaluated).rejects.toThrow('told to stop');
  expect(calls).toEqual(['get', 'start', 'pause', 'cancel']);
});

test("Ctrl-C leaves another client's job alone", async () => {
  const { evaluated, calls } = server(job(running), [job(running)], 1);
  await expect(evaluated).rejects.toThrow('told to stop');
  expect(calls).toEqual(['get', 'pause']);
});

test.each([
  ['why it failed', job(failed, { failure: { code: 'ENGINE_LOST', message: 'the engine is gone', field: '' } }), 'ENGINE_LOST'],
  ['that another client cancelled it', job(cancelled), 'RESULT_MISSING'],
  ['that the server was started again', undefined, 'RESULT_MISSING'],
])('it says %s', async (_name, last, code) => {
  const { evaluated, calls } = server(job(running), [undefined, last]);
  await expect(evaluated).rejects.toMatchObject({ code });
  expect(calls).not.toContain('cancel');
});
