// Tests a server with an engine of an earlier release, which does not know all settings. It must get no run that it would train without one
// of them, since the run's record would name a setting that was not in use.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { programFile } from '#files';
import { v1 } from '#protocol';
import { earlierEngine } from './harness/earlier-engine.js';
import { freePort } from './harness/joining-engine.js';
import { enginesUntil, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const ENGINE = programFile(new URL('../../engine/src/main.js', import.meta.url));
const RUN: Partial<v1.RunSettings> = { totalSteps: 20 };
const processes: ChildProcess[] = [];

async function engineAt(listen: string): Promise<string> {
  const engine = spawn(process.execPath, [ENGINE, '--listen', listen, '--threads', '1'], { stdio: ['ignore', 'ignore', 'pipe'] });
  processes.push(engine);
  const [line] = (await once(createInterface({ input: engine.stderr }), 'line')) as [string];
  engine.stderr.resume();
  return (JSON.parse(line) as { address: string }).address;
}

test('a run with a setting that the engine does not know waits, and says why, until an engine comes that knows it', async () => {
  const earlier = await earlierEngine(await engineAt('127.0.0.1:0'));
  const later = `127.0.0.1:${await freePort()}`;
  const server = TestServer.inNewFolder({ ESPALIER_ENGINE: `${earlier.address},${later}` });
  try {
    await server.start();
    const [listed] = await enginesUntil(server, ([one]) => one!.status === v1.EngineStatus.ENGINE_STATUS_IDLE);
    expect(listed!.unknown).toContain('mask_noise');
    const why =
      `engine ${earlier.address} is older than the server and does not know the setting mask_noise: ` +
      'update the engine, or launch with --mask-noise 1';
    const request = v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings: { ...TINY_RUN, maskNoise: 0.5 } });
    const plan = await unary<v1.PlanRunResponse>((done) => server.runs.planRun(request, done));
    expect(plan.warnings).toContainEqual({ code: 'ENGINE_OF_EARLIER_RELEASE', field: 'settings', message: why });

    const waits = await server.launch({ ...RUN, maskNoise: 0.5 });
    const without = await server.launch(RUN);
    await server.completed(without.runId);
    const waiting = await server.until(waits.runId, ({ waitingFor }) => waitingFor?.message.includes(why) === true);
    expect([waiting.status, waiting.step]).toEqual([v1.RunStatus.RUN_STATUS_QUEUED, 0n]);

    await engineAt(later);
    await server.completed(waits.runId);
    const attached = (await server.events(waits.runId)).filter(({ type }) => type === 'EngineAttached');
    expect(attached.map(({ dataJson }) => (JSON.parse(dataJson) as { engineName: string }).engineName)).toEqual([later]);
  } finally {
    await server.dispose();
    earlier.close();
    for (const engine of processes) engine.kill('SIGKILL');
  }
});
