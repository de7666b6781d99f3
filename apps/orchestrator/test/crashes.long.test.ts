// Tests deaths of processes at chosen moments. The long random test is in chaos/. Each case trains a small run.
import { appendFileSync, copyFileSync, cpSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { v1 } from '#protocol';
import type { PruningRunState } from '../src/pruning-run/aggregate/pruning-run.js';
import { CLOSELY_MS, codeOf, collect, CORPUS, isOver, TestServer, TINY_MODEL } from './harness/server.js';
import { foldHistory, recordProblems, replayPlan } from './harness/record-checks.js';

const rewindsOf = (events: v1.HistoryEvent[]): number[] =>
  events.filter(({ type }) => type === 'RunRewound').map(({ dataJson }) => (JSON.parse(dataJson) as { toStep: number }).toStep);

/** The steps that the attempts went on from. */
const attemptsOf = (events: v1.HistoryEvent[]): number[] =>
  events.filter(({ type }) => type === 'AttemptStarted').map(({ dataJson }) => (JSON.parse(dataJson) as { fromStep: number }).fromStep);

/** The segments that more than `teachers` teachers instructed. */
const segmentsOfSeveralTeachers = (events: v1.HistoryEvent[], teachers: number): { firstStep: number }[] =>
  replayPlan(events).segments.filter(({ stretches }) => stretches.length > teachers);

describe('a run that is disturbed', () => {
  let undisturbed = '';
  const server = TestServer.inNewFolder();

  beforeAll(async () => {
    await server.start();
    undisturbed = (await server.completed((await server.launch({})).runId)).stateDigest;
  });
  afterAll(() => server.dispose());

  /** Launches a run, waits for some recorded steps, disturbs the run, and expects it to end as an undisturbed run does. */
  async function survives(disturb: (runId: string) => Promise<unknown>): Promise<v1.Run> {
    let seen: v1.HistoryEvent[] = [];
    const run = await server.disturbed({
      launch: () => server.launch({}),
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        seen = await server.events(runId);
        return disturb(runId);
      },
    });
    expect(run.stateDigest).toBe(undisturbed);
    expect(recordProblems(await server.events(run.runId), seen)).toEqual([]);
    return run;
  }

  it('survives the death of its engine', async () => {
    const run = await survives(async () => void server.signal('engine', 'SIGKILL'));
    expect(run.restarts).toBeGreaterThan(0);
  });

  it('survives the death of the orchestrator, and its children die with it', async () => {
    await survives(async () => {
      await server.kill();
      expect(await server.orphansGone()).toBe(true);
      await server.start();
    });
  });

  it('survives the death of its engine with batches that are taken in parts, which have bits of their own', async () => {
    const parts = { microShards: 2 };
    const whole = await server.completed((await server.launch(parts)).runId);
    const run = await server.disturbed({
      launch: () => server.launch(parts),
      when: ({ step }) => step >= 20n,
      by: async () => void server.signal('engine', 'SIGKILL'),
    });
    expect([run.stateDigest, run.restarts > 0, run.settings?.microShards]).toEqual([whole.stateDigest, true, 2]);
    expect(run.stateDigest).not.toBe(undisturbed);
  });

  it('survives a death after everything it records, the last of it too', async () => {
    const short = { totalSteps: 200, warmupSteps: 100, segmentSteps: 10, targetSparsity: 0.05 };
    const expected = await server.completed((await server.launch(short)).runId);
    const { stateDigest } = await server.disturbed({
      launch: () => server.launch(short),
      when: ({ step }) => step > 0n,
      by: async (runId) => {
        let deaths = 0;
        for (const recorded of [20n, 60n, 200n]) {
          await server.until(runId, (run) => run.step >= recorded || isOver(run), CLOSELY_MS);
          const seen = await server.events(runId);
          if (!isOver(await server.run(runId))) deaths += 1;
          await server.killAll();
          expect(recordProblems(await server.events(runId), seen)).toEqual([]);
        }
        return deaths > 1; // how many depends on the engine's progress in the meantime
      },
    });
    expect(stateDigest).toBe(expected.stateDigest);
  });

  it('survives a death in a segment that several teachers instruct', async () => {
    const long = { totalSteps: 400, warmupSteps: 40, segmentSteps: 200, targetSparsity: 0.1, teacherGapMarks: 1 };
    const expected = await server.completed((await server.launch(long)).runId);
    const several = segmentsOfSeveralTeachers(await server.events(expected.runId), 4).at(-1)!;
    let seen: v1.HistoryEvent[] = [];
    let againFrom = 0;
    const { runId, stateDigest } = await server.disturbed({
      launch: () => server.launch(long),
      when: ({ expectedSparsity }) => expectedSparsity >= long.targetSparsity,
      by: async (runId) => {
        seen = await server.events(runId);
        await server.killAll();
        await server.completed(runId);
        againFrom = attemptsOf(await server.events(runId))[1] ?? Infinity;
        return againFrom <= several.firstStep;
      },
    });
    expect(stateDigest).toBe(expected.stateDigest);
    const events = await server.events(runId);
    expect(recordProblems(events, seen)).toEqual([]);
    expect(segmentsOfSeveralTeachers(events, 2).at(-1)!.firstStep).toBeGreaterThanOrEqual(againFrom);
  });

  it('survives the death of the event store', async () => {
    await survives(async (runId) => {
      server.signal('store', 'SIGKILL');
      return !isOver(await server.run(runId));
    });
  });

  it('survives an engine that hangs', async () => {
    const run = await survives(async (runId) => {
      server.signal('engine', 'SIGSTOP');
      if (!isOver(await server.run(runId))) return;
      server.signal('engine', 'SIGCONT');
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

    /** Pauses the run at some step, so that its last state does not change, and resumes it after the damage. */
    async function survivesDamage(damage: (run: PruningRunState) => void, at: (run: v1.Run) => boolean = () => true): Promise<v1.Run> {
      return survives(async (runId) => {
        await server.until(runId, at, CLOSELY_MS);
        if (!(await server.pause(runId))) return false;
        const recorded = foldHistory(await server.events(runId));
        if ((recorded.current?.step ?? 0) >= recorded.settings.totalSteps) {
          await server.resume(runId);
          return false; // no step is left that would need what the damage takes
        }
        await server.kill();
        damage(recorded);
        await server.start();
        await server.resume(runId);
        return true;
      });
    }

    it('survives a torn last state', async () => {
      const run = await survivesDamage(({ current }) => tear(current!.stateDigest));
      expect(run.rewinds).toBe(1);
    });

    it('has its torn last state made again after its end, from a teacher on, in the same bits', async () => {
      const { runId, teacherCount, stateDigest } = await server.completed((await server.launch({})).runId);
      await server.kill();
      tear(stateDigest);
      await server.start();
      const exported = (): Promise<v1.ExportRunResponse[]> =>
        collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, skipProof: true })));
      await expect(exported().catch(codeOf)).resolves.toBe('ARTIFACT_CORRUPT');
      await server.resume(runId, { from: { $case: 'teacherMark', value: teacherCount } });
      expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
      expect((await exported()).at(-1)!.export).toBeDefined();
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
      expect(steps).toEqual([0]); // no whole state was before them
    });

    it('survives the loss of all artifacts, its tokens among them', async () => {
      const run = await survivesDamage(() => rmSync(objects(), { recursive: true }));
      expect(run.evaluations).toHaveLength(2);
    });

    it('says what it would need when its tokens are gone and their text has changed', async () => {
      const text = `${server.dataFolder}/changing.jsonl`;
      await server.disturbed({
        launch: () => {
          copyFileSync(CORPUS, text);
          return server.launch({}, { data: { trainPath: text, validationPath: '' } });
        },
        when: ({ step }) => step >= 20n,
        by: async (runId) => {
          const { trainDigest } = foldHistory(await server.events(runId)).data;
          await server.kill();
          appendFileSync(text, '{"text": "something else"}\n');
          rmSync(`${objects()}/${trainDigest.slice(0, 2)}/${trainDigest}`);
          await server.start();
          if (!(await server.untilPaused(runId))) return false;
          expect((await server.run(runId)).waitingFor).toMatchObject({
            code: 'ARTIFACT_MISSING',
            message: expect.stringContaining(text) as string,
            command: `espalier resume ${runId}`,
          });
          copyFileSync(CORPUS, text); // puts the old text back
          await server.resume(runId);
          return true;
        },
      });
    });
  });

  it('waits, paused, when its model is gone, and goes on when it is back', async () => {
    const modelPath = `${server.dataFolder}/model`;
    cpSync(TINY_MODEL, modelPath, { recursive: true });
    const { waitingFor } = await server.disturbed({
      launch: () => server.launch({}, { modelPath }),
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        await server.kill();
        renameSync(modelPath, `${modelPath}.gone`);
        await server.start();
        const paused = await server.untilPaused(runId);
        const waiting = await server.run(runId);
        renameSync(`${modelPath}.gone`, modelPath);
        if (!paused) return false;
        expect(waiting.waitingFor).toMatchObject({ code: 'MODEL_NOT_FOUND', command: `espalier resume ${runId}` });
        await server.resume(runId);
        return true;
      },
    });
    expect(waitingFor).toBeUndefined();
  });

  it('waits, paused, at an engine with other numerics, until they are accepted', async () => {
    const restartWith = async (threads: number): Promise<void> => {
      if (server.threads === threads) return;
      await server.stop();
      server.threads = threads;
      await server.start();
    };
    let waiting: v1.Run | undefined;
    const run = await server.disturbed({
      launch: async () => {
        await restartWith(1);
        return server.launch({});
      },
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        await restartWith(2);
        if (!(await server.untilPaused(runId))) return false;
        waiting = await server.run(runId);
        expect(waiting.waitingFor).toMatchObject({
          code: 'NUMERICS_CHANGED',
          command: `espalier resume ${runId} --accept-other-numerics`,
        });
        await server.resume(runId, { acceptOtherNumerics: true });
        return true;
      },
    });
    const attached = (await server.events(run.runId))
      .filter((event) => event.type === 'EngineAttached')
      .map((event) => JSON.parse(event.dataJson) as { numericsChangedFrom: string | null });
    expect(attached.map((one) => one.numericsChangedFrom !== null)).toEqual([false, true]);
    expect(run.numericsFingerprint).not.toBe(waiting!.numericsFingerprint);
  });
});
