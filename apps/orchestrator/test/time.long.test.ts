// Tests that a run with a time ends in the bits of a run that names its steps, wherever it is killed.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, collect, enginesUntil, TestServer, TINY_RUN, unary } from './harness/server.js';

const { totalSteps: _, ...untimed } = TINY_RUN;
const TIMED: Partial<v1.RunSettings> = { ...untimed, preset: 'nuteprune2', totalSteps: undefined };
const SHORTEST_SECONDS = 12;

describe('a run with a time', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  const typesOf = async (runId: string): Promise<string[]> => (await server.events(runId)).map(({ type }) => type);
  const measuring = async (runId: string): Promise<void> => {
    await enginesUntil(server, (engines) => engines.some(({ doing }) => doing === `measuring the steps of run ${runId}`));
  };

  /** Launches a run, kills all while its steps are measured, and waits until they are chosen. A slow machine needs more time. */
  async function chosenAfterKill(): Promise<v1.Run> {
    for (let time = SHORTEST_SECONDS; ; time *= 2) {
      const { runId } = await server.launch({ ...TIMED, time });
      await measuring(runId);
      await server.killAll();
      const isChosen = ({ stepsToChoose, status }: v1.Run): boolean => !stepsToChoose || status === v1.RunStatus.RUN_STATUS_FAILED;
      const run = await server.until(runId, isChosen, CLOSELY_MS);
      if (!run.stepsToChoose) return run;
      expect(run.failure!.code).toBe('TIME_TOO_SHORT');
    }
  }

  it('is killed while it measures and while it trains, pauses, and ends in the bits of a run that names its steps', async () => {
    const { runId, settings } = await chosenAfterKill();
    const { totalSteps, recoverSteps } = settings!;
    await server.until(runId, ({ step }) => step > 5n, CLOSELY_MS);
    await server.killAll();
    await server.until(runId, ({ step }) => step > BigInt(totalSteps! + 5), CLOSELY_MS);
    if (await server.pause(runId)) await server.resume(runId);
    const run = await server.completed(runId);
    expect((await typesOf(runId)).filter((type) => type === 'StepsChosen')).toHaveLength(1);
    expect(run.attempt).toBeGreaterThan(2);
    expect(recordProblems(await server.events(runId))).toEqual([]);

    const { runId: named } = await server.launch({ ...TIMED, totalSteps, recoverSteps });
    const undisturbed = await server.completed(named);
    expect([run.stateDigest, run.step]).toEqual([undisturbed.stateDigest, undisturbed.step]);

    const replay = v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: 0n, toStep: BigInt(totalSteps!) });
    expect((await collect(server.history.verifyRun(replay))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });

    // A fork has the steps that were chosen, and measures none.
    const request = v1.ForkRunRequest.fromPartial({
      parentRunId: runId,
      from: { $case: 'lastState', value: true },
      settings: { recoverSteps: recoverSteps! + 20 },
    });
    const { run: fork } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
    const forked = await server.completed(fork!.runId);
    expect(forked).toMatchObject({ stepsToChoose: false, step: run.step + 20n, settings: { totalSteps, time: undefined } });
    expect(await typesOf(fork!.runId)).not.toContain('StepsChosen');
  });
});
