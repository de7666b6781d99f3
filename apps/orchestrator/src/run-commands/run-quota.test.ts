import { RunQuota } from './run-quota.js';

/** A server that lets each caller have two runs, with views that may lag behind. */
class Server {
  readonly unfinished = new Map<string, string[]>();
  private shown: () => void = () => undefined;
  private readonly isShown = new Promise<void>((resolve) => (this.shown = resolve));
  readonly quota: RunQuota;

  constructor(runsPerCaller = 2) {
    const views = {
      unfinishedOf: (actor: string) => Promise.resolve(this.unfinished.get(actor) ?? []),
      summary: () => this.isShown,
    };
    this.quota = new RunQuota({ runsPerCaller }, views as never);
  }

  launch(actor: string, runId: string, roles = ['operator'], work = () => Promise.resolve({ revision: 0 })): Promise<{ revision: number }> {
    return this.quota.launching({ actor, roles }, runId, work);
  }

  showAll(): void {
    this.shown();
  }
}

const REFUSED = { code: 'RUNS_TOO_MANY' };

test('a caller may have a number of runs that have not ended, and another caller as many', async () => {
  const server = new Server();
  server.unfinished.set('login:x:ann', ['a', 'b']);
  await expect(server.launch('login:x:ann', 'c')).rejects.toMatchObject({
    ...REFUSED,
    message:
      'login:x:ann has 2 runs that have not ended, and one caller may have 2 runs here: ' +
      'wait until one ends, or cancel one; a paused run counts',
  });
  await server.launch('token:ci', 'd');
  server.unfinished.set('login:x:ann', ['a']);
  await server.launch('login:x:ann', 'c');
});

test('runs that are being launched count, though no view shows them yet', async () => {
  const server = new Server();
  const launches = await Promise.allSettled(['a', 'b', 'c'].map((runId) => server.launch('ann', runId)));
  expect(launches.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  await expect(server.launch('ann', 'd')).rejects.toMatchObject(REFUSED);
  server.showAll(); // and they are over by now
  await new Promise((resolve) => setImmediate(resolve));
  await server.launch('ann', 'd');
});

test('a launch that failed takes no place, and the same launch again takes one', async () => {
  const server = new Server(1);
  const fails = (): Promise<never> => Promise.reject(new Error('no such model'));
  await expect(server.launch('ann', 'a', ['operator'], fails)).rejects.toThrow('no such model');
  await server.launch('ann', 'b');
  await server.launch('ann', 'b');
  await expect(server.launch('ann', 'c')).rejects.toMatchObject(REFUSED);
});

test.each(['admin', 'owner', 'system'])('%s has no limit', async (role) => {
  const server = new Server(1);
  server.unfinished.set('ann', ['a', 'b']);
  await server.launch('ann', 'c', [role]);
});

test('a server without the option limits no caller', async () => {
  const server = new Server(0);
  server.unfinished.set('ann', ['a', 'b']);
  await server.launch('ann', 'c');
});
