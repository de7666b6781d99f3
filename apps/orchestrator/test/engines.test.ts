// Tests the errors for engines that can't be reached: addresses where no engine answers, and variables that name none. engines.long.test.ts
// tests engines at work, and config.test.ts more options.
import { v1 } from '#protocol';
import { enginesUntil, TestServer } from './harness/server.js';

const { ENGINE_STATUS_UNREACHABLE } = v1.EngineStatus;

test('a named engine that does not run, or that is another program, is reported as such', async () => {
  const other = TestServer.inNewFolder();
  await other.start();
  const server = TestServer.inNewFolder({ ESPALIER_ENGINE: `127.0.0.1:1,${other.listenAddress}` });
  try {
    await server.start();
    // On a busy machine the first question may go unanswered for too long, and is asked again.
    const isTold = ({ status, problem }: v1.Engine): boolean =>
      status === ENGINE_STATUS_UNREACHABLE && problem?.message.includes('did not answer in time') === false;
    const engines = await enginesUntil(server, (all) => all.every(isTold));
    expect(engines.map(({ problem }) => problem?.message)).toEqual([
      expect.stringContaining('no engine answers at 127.0.0.1:1: no program listens at its address'),
      expect.stringContaining(`the program that answers at ${other.listenAddress} is not an engine`),
    ]);
    await expect(server.launch({})).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
    expect(await server.health('espalier.engines')).toBe('NOT_SERVING');
    expect(await server.health('espalier.v1.RunService')).toBe('SERVING');
    expect(await other.health('espalier.engines')).toBe('SERVING');
  } finally {
    await server.dispose();
    await other.dispose();
  }
});

test.each([
  ['ESPALIER_ENGINES', '99', 'Write a whole number from 0 to 64'],
  ['ESPALIER_ENGINE', '127.0.0.1:9,127.0.0.1:9', 'named twice'],
])('%s=%s is refused at the start', async (name, value, message) => {
  const server = TestServer.inNewFolder({ [name]: value });
  await expect(server.start()).rejects.toThrow(message);
  await server.dispose();
});
