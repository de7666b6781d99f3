// Death at chosen moments; the long random test is chaos/. Takes about half a minute: each case trains a small run.
import { appendFileSync, copyFileSync, cpSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import type { PruningRunState } from '../src/pruning-run/aggregate/pruning-run.js';
import { CORPUS, TestServer, TINY_MODEL, unary } from './harness/server.js';
import { foldHistory, recordProblems, replayPlan } from './harness/record-checks.js';

const rewindsOf = (events: v1.HistoryEvent[]): number[] =>
  events.filter(({ type }) => type === 'RunRewound').map(({ dataJson }) => (JSON.parse(dataJson) as { toStep: number }).toStep);

function teachersOfSegments(events: v1.HistoryEvent[]): number[] {
  return replayPlan(events).segments.map(({ stretches }) => stretches.length);
}

describe('a run that is disturbed', () => {
  let undisturbed = '';
  const server = TestServer.inNewFolder();

  beforeAll(async () => {
    await server.start();
    undisturbed = (await server.completed((await server.launch({})).runId)).stateDigest;
  });
  afterAll(() => server.dispose());

  /** Launches, waits for some recorded steps, disturbs, and expects the end that an undisturbed run has. */
  async function survives(disturb: (runId: string) => Promise<void>): Promise<v1.Run> {
    const { runId } = await server.launch({});
    await server.until(runId, (run) => run.step >= 20n);
    const seen = await server.events(runId);
    await disturb(runId);
    const run = await server.completed(runId);
    expect(run.stateDigest).toBe(undisturbed);
    expect(recordProblems(await server.events(runId), seen)).toEqual([]);
    return run;
  }

  it('survives the death of its engine, shown as recovering within seconds', async () => {
    const run = await survives(async (runId) => {
      server.signal('engine', 'SIGKILL');
      await server.until(runId, (one) => one.status === v1.RunStatus.RUN_STATUS_RECOVERING || one.restarts > 0, 5_000);
    });
    expect(run.restarts).toBeGreaterThan(0);
  });

  it('survives the death of the orchestrator, and its children die with it', async () => {
    await survives(async () => {
      await server.kill();
      expect(await server.orphansGone()).toBe(true);
      await server.start();
    });
  });

  it('survives the death of all processes at once', async () => {
    await survives(async () => {
      await server.kill('engine', 'store');
      await server.start();
    });
  });

  it('survives a death after everything it records, the last of it too', async () => {
    const short = { totalSteps: 400, warmupSteps: 200, segmentSteps: 10, targetSparsity: 0.05 };
    const expected = await server.completed((await server.launch(short)).runId);
    const { runId } = await server.launch(short);
    let deaths = 0;
    for (let run = await server.run(runId); run.status !== v1.RunStatus.RUN_STATUS_COMPLETED; deaths += 1) {
      const seen = await server.events(runId);
      const { step } = run;
      await server.until(runId, (one) => one.step > step || one.status === v1.RunStatus.RUN_STATUS_COMPLETED);
      await server.kill('engine', 'store');
      await server.start();
      run = await server.run(runId);
      expect(recordProblems(await server.events(runId), seen)).toEqual([]);
    }
    expect(deaths).toBeGreaterThan(1); // how many depends on how far the engine gets meanwhile
    expect((await server.run(runId)).stateDigest).toBe(expected.stateDigest);
  });

  it('survives a death in a segment that several teachers instruct', async () => {
    const long = { totalSteps: 400, warmupSteps: 40, segmentSteps: 200, targetSparsity: 0.1, teacherGapMarks: 1 };
    const expected = await server.completed((await server.launch(long)).runId);
    expect(Math.max(...teachersOfSegments(await server.events(expected.runId)))).toBeGreaterThan(4);
    const { runId } = await server.launch(long);
    await server.until(runId, ({ expectedSparsity }) => expectedSparsity >= long.targetSparsity, 60_000, 5);
    const seen = await server.events(runId);
    await server.kill('engine', 'store');
    await server.start();
    expect((await server.run(runId)).step).toBeLessThan(400n);
    expect((await server.completed(runId)).stateDigest).toBe(expected.stateDigest);
    const events = await server.events(runId);
    expect(recordProblems(events, seen)).toEqual([]);
    expect(
      teachersOfSegments(events)
        .slice(teachersOfSegments(seen).length)
        .some((count) => count > 2),
    ).toBe(true);
  });

  it('survives the death of the event store', async () => {
    await survives(async () => {
      server.signal('store', 'SIGKILL');
      await sleep(1_500);
    });
  });

  it('survives an engine that hangs', async () => {
    const run = await survives(async () => {
      server.signal('engine', 'SIGSTOP');
      await sleep(100);
    });
    expect(run.restarts).toBeGreaterThan(0);
  });

  it('survives a stop in good order, and goes on by itself', async () => {
    const run = await survives(async () => {
      expect(await server.stop()).toBe(0);
      await server.start();
    });
    expect(run.restarts).toBe(0);
  });

  describe('with damaged artifacts', () => {
    const objects = (): string => `${server.dataFolder}/artifacts/objects`;
    const tear = (digest: string): void => truncateSync(`${objects()}/${digest.slice(0, 2)}/${digest}`, 1000);

    /** Pauses the run at some step, so that the last state stays the last, and lets it go on after the damage. */
    async function survivesDamage(damage: (run: PruningRunState) => void, at: (run: v1.Run) => boolean = () => true): Promise<v1.Run> {
      return survives(async (runId) => {
        await server.until(runId, at);
        await unary<v1.PauseRunResponse>((cb) => server.runs.pauseRun({ runId }, cb));
        await server.until(runId, (one) => one.status === v1.RunStatus.RUN_STATUS_PAUSED);
        const recorded = foldHistory(await server.events(runId));
        await server.kill();
        damage(recorded);
        await server.start();
        await unary<v1.ResumeRunResponse>((cb) => server.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: false }, cb));
      });
    }

    it('survives a torn last state', async () => {
      const run = await survivesDamage(({ current }) => tear(current!.stateDigest));
      expect(run.rewinds).toBe(1);
    });

    it('survives torn teachers, which are trained again when they are needed', async () => {
      const run = await survivesDamage(
        ({ teachers, current }) => {
          expect(teachers.length).toBeGreaterThan(4);
          for (const { stateDigest } of teachers.map(({ state }) => state)) if (stateDigest !== current!.stateDigest) tear(stateDigest);
        },
        ({ teacherCount }) => teacherCount > 4,
      );
      const steps = rewindsOf(await server.events(run.runId));
      expect(steps).toEqual([0]); // nothing whole was before them
    });

    it('survives the loss of all artifacts, its tokens among them', async () => {
      const run = await survivesDamage(() => rmSync(objects(), { recursive: true }));
      expect(run.evaluations).toHaveLength(2);
    });

    it('says what it would need when its tokens are gone and their text has changed', async () => {
      const text = `${server.dataFolder}/changing.jsonl`;
      copyFileSync(CORPUS, text);
      const { runId } = await server.launch({}, { data: { trainPath: text, validationPath: '' } });
      await server.until(runId, ({ step }) => step >= 20n);
      const { trainDigest } = foldHistory(await server.events(runId)).data;
      await server.kill();
      appendFileSync(text, '{"text": "something else"}\n');
      rmSync(`${objects()}/${trainDigest.slice(0, 2)}/${trainDigest}`);
      await server.start();
      const waiting = await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_PAUSED);
      expect(waiting.waitingFor).toMatchObject({
        code: 'ARTIFACT_MISSING',
        message: expect.stringContaining(text) as string,
        command: `espalier resume ${runId}`,
      });
      copyFileSync(CORPUS, text); // as it was
      await unary<v1.ResumeRunResponse>((cb) => server.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: false }, cb));
      await server.completed(runId);
    });
  });

  it('waits, paused, when its model is gone, and goes on when it is back', async () => {
    const modelPath = `${server.dataFolder}/model`;
    cpSync(TINY_MODEL, modelPath, { recursive: true });
    const { runId } = await server.launch({}, { modelPath });
    await server.until(runId, (run) => run.step >= 20n);
    await server.kill();
    renameSync(modelPath, `${modelPath}.gone`);
    await server.start();
    const waiting = await server.until(runId, (run) => run.status === v1.RunStatus.RUN_STATUS_PAUSED);
    expect(waiting.waitingFor).toMatchObject({ code: 'MODEL_NOT_FOUND', command: `espalier resume ${runId}` });
    renameSync(`${modelPath}.gone`, modelPath);
    await unary<v1.ResumeRunResponse>((cb) => server.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: false }, cb));
    const { waitingFor } = await server.completed(runId);
    expect(waitingFor).toBeUndefined();
  });

  it('waits, paused, at an engine with other numerics, until they are accepted', async () => {
    const { runId } = await server.launch({});
    await server.until(runId, (run) => run.step >= 20n);
    await server.stop();
    server.threads = 2;
    await server.start();
    const waiting = await server.until(runId, (run) => run.status === v1.RunStatus.RUN_STATUS_PAUSED);
    expect(waiting.waitingFor).toMatchObject({
      code: 'NUMERICS_CHANGED',
      command: `espalier resume ${runId} --accept-other-numerics`,
    });
    await unary<v1.ResumeRunResponse>((cb) => server.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: true }, cb));
    const run = await server.completed(runId);
    const attached = (await server.events(runId))
      .filter((event) => event.type === 'EngineAttached')
      .map((event) => JSON.parse(event.dataJson) as { numericsChangedFrom: string | null });
    expect(attached.map((one) => one.numericsChangedFrom !== null)).toEqual([false, true]);
    expect(run.numericsFingerprint).not.toBe(waiting.numericsFingerprint);
    await server.stop();
    server.threads = 1;
    await server.start();
  });

  it('refuses a second orchestrator on the same data folder', async () => {
    const second = new TestServer(server.dataFolder);
    const naming = new RegExp(
      `another orchestrator works with ${server.dataFolder} \\(process ${server.pid}, ` +
        `serving ${server.listenAddress}\\).*DATA_FOLDER_IN_USE`,
    );
    await expect(second.start()).rejects.toThrow(naming);
  });
});
