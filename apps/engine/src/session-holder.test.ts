// Tests that the engine does one piece of heavy work at a time. The next piece begins as soon as no client wants the current one.
import { SessionHolder } from './session-holder.js';

/** Work that ends a moment after it is told to, like a step that must be finished first. */
function work(): { run: (signal: AbortSignal) => Promise<string>; end: () => void } {
  let end: () => void = () => undefined;
  const run = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      end = () => resolve('done');
      signal.addEventListener('abort', () => setTimeout(() => reject(new Error('stopped')), 20));
    });
  return { run, end: () => end() };
}

test('work that goes on is not disturbed: other work is refused and told by what', async () => {
  const holder = new SessionHolder();
  const first = work();
  const done = holder.exclusive('Evaluate', first.run, new AbortController().signal);
  await expect(holder.exclusive('ExportModel', work().run)).rejects.toMatchObject({
    code: 'ENGINE_BUSY',
    message: 'the engine is busy with Evaluate',
  });
  first.end();
  expect(await done).toBe('done');
});

test('work whose client has gone, or that was told to stop, is waited for; of two that wait one gets the engine', async () => {
  for (const stop of ['client', 'stopWork']) {
    const holder = new SessionHolder();
    const client = new AbortController();
    const given = holder.exclusive('Evaluate', work().run, client.signal);
    const endings = given.catch((error: unknown) => (error as Error).message);
    if (stop === 'client') client.abort();
    else void holder.stopWork('Evaluate');
    const next = [work(), work()];
    const answers = Promise.allSettled(next.map(({ run }, index) => holder.exclusive(`next ${index}`, run)));
    expect(await endings).toBe('stopped');
    setTimeout(() => next.forEach(({ end }) => end()), 20);
    expect(await answers).toMatchObject([
      { value: 'done' },
      { reason: { code: 'ENGINE_BUSY', message: 'the engine is busy with next 0' } },
    ]);
  }
});

test('a session whose memory can not be planned is closed again, and the next one can be opened', async () => {
  let [closed, plans] = [0, 0];
  const session = { close: () => Promise.resolve(void (closed += 1)) } as never;
  const plan = { totalBytes: 0n, availableBytes: 1n, hostBytes: 0n } as never;
  const holder = new SessionHolder(
    () => Promise.resolve(session),
    () => ((plans += 1) === 1 ? Promise.reject(new Error('the model is gone')) : Promise.resolve(plan)),
  );
  await expect(holder.open({} as never, 'run a', true)).rejects.toThrow('the model is gone');
  expect(closed).toBe(1);
  expect(holder.sessionId).toBe('');
  expect((await holder.open({} as never, 'run a', true)).session).toBe(session);
});

test('it is idle from its start on, and from the end of its last work', async () => {
  const holder = new SessionHolder();
  const later = performance.now() + 5_000;
  expect(holder.idleForMs(later)).toBeGreaterThan(4_000);
  const { run, end } = work();
  const done = holder.exclusive('Train', run);
  expect(holder.idleForMs(later)).toBe(0);
  end();
  await done;
  expect(holder.idleForMs(performance.now() + 1_000)).toBeGreaterThanOrEqual(1_000);
});

test('an engine that ends says so to calls for the session that it has closed', async () => {
  const holder = new SessionHolder();
  expect(() => holder.require('s')).toThrow(expect.objectContaining({ code: 'SESSION_NOT_FOUND' }));
  await holder.shutDown();
  expect(() => holder.require('s')).toThrow(expect.objectContaining({ code: 'SHUTTING_DOWN' }));
});
