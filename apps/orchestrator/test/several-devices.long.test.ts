// Tests a run whose steps several devices compute together. The devices are processors here, even more than the machine has. The run must
// end with the bits of a run on one device.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, collect, TestServer, TINY_MODEL, unary } from './harness/server.js';

const RUN: Partial<v1.RunSettings> = {
  batchSize: 4,
  microShards: 4,
  sequenceLength: 16,
  totalSteps: 60,
  warmupSteps: 30,
  targetSparsity: 0.1,
  segmentSteps: 5,
  recoverSteps: 40,
  recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_ALL,
};

describe('a run on several devices', () => {
  const env: Record<string, string> = { ESPALIER_DEVICE: 'cpu' };
  const server = TestServer.inNewFolder(env);
  const startOn = async (devices: string): Promise<void> => {
    await server.kill('engine', 'store');
    env['ESPALIER_DEVICE'] = devices;
    await server.start();
  };

  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  it('is killed on four, goes on with one, two and four, ends in the bits of one, and is replayed', async () => {
    const one = await server.completed((await server.launch(RUN)).runId);
    await startOn('cpu+cpu+cpu+cpu');
    const run = await server.disturbed({
      launch: () => server.launch(RUN),
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        await startOn('cpu');
        await server.until(runId, ({ step, status }) => step >= 40n || status === v1.RunStatus.RUN_STATUS_COMPLETED, CLOSELY_MS);
        await startOn('cpu+cpu');
        // Recovery of all weights is killed on two devices, too, and goes on with four.
        await server.until(runId, ({ step, status }) => step >= 65n || status === v1.RunStatus.RUN_STATUS_COMPLETED, CLOSELY_MS);
        await startOn('cpu+cpu+cpu+cpu');
      },
    });
    expect([run.stateDigest, run.numericsFingerprint, run.restarts > 0]).toEqual([one.stateDigest, one.numericsFingerprint, true]);
    expect(run.settings).toMatchObject({ microShards: 4 });
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
    expect((await server.engines())[0]!.device).toMatch(/^4 x /);

    const replay = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true, fromStep: 0n, toStep: 10n });
    const [replayed] = (await collect(server.history.verifyRun(replay))).slice(-2);
    expect(replayed).toMatchObject({ check: 'replay', ok: true, detail: expect.stringContaining('bit for bit') as string });
  });

  it('is planned with the devices that take part, and told of those that do not', async () => {
    const plan = (settings: Partial<v1.RunSettings>): Promise<v1.PlanRunResponse> =>
      unary((done) => server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings }), done));
    await startOn('cpu+cpu');
    const both = await plan({ ...RUN, recoverSteps: 0, recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_LORA });
    expect([both.memory!.devices, both.memory!.devicesThere]).toEqual([2, 2]);
    expect(both.warnings.map(({ code }) => code)).not.toContain('DEVICES_IDLE');
    const one = await plan({ ...RUN, microShards: 1 });
    expect(one.warnings).toContainEqual(expect.objectContaining({ code: 'DEVICES_IDLE', field: 'settings.micro_shards' }));
    expect(one.memory!.totalBytes).not.toBe(both.memory!.totalBytes);
  });
});

test('devices are counted or named, not both', async () => {
  const server = TestServer.inNewFolder({ ESPALIER_DEVICE: 'cpu', ESPALIER_CARDS: '2' });
  await expect(server.start()).rejects.toThrow('--cards: is 2 beside --device cpu: the devices are counted, or they are named');
  await server.dispose();
});
