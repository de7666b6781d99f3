// Tests a study of six runs with the real processes, killed twice on its way, one with rungs, and one that is cancelled.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { codeOf, collect, ENDLESS, TestServer, unary } from './harness/server.js';
import { StudyCalls, studyRun } from './harness/studies.js';

const { STUDY_STATUS_COMPLETED, STUDY_STATUS_CANCELLED } = v1.StudyStatus;

describe('a study', () => {
  const server = TestServer.inNewFolder();
  const recipes = [1n, 2n].flatMap((seed) => [
    studyRun('nuteprune', { seed }),
    studyRun('distill', { recipe: v1.Recipe.RECIPE_DISTILL, seed }),
    studyRun('wanda', { recipe: v1.Recipe.RECIPE_WANDA, totalSteps: 1, calibrationSequences: 8, seed }),
  ]);

  const { launch, get, until } = new StudyCalls(server);

  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  it('of six runs completes, with each run once, though it is killed twice', async () => {
    expect(await launch('recipes', recipes)).toMatchObject({ added: 6, study: { runs: 6, atOnce: 2 } });
    await until('recipes', ({ study }) => study!.runsCompleted >= 1);
    await server.kill('engine', 'store');
    await server.start();
    await until('recipes', ({ study }) => study!.runsCompleted >= 3);
    await server.kill();
    await server.start();
    let mostAtOnce = 0;
    const { study, runs, groups } = await until('recipes', (detail) => {
      mostAtOnce = Math.max(mostAtOnce, detail.study!.runsUnderWay);
      return detail.study!.endedAt !== undefined;
    });
    expect(study).toMatchObject({ status: STUDY_STATUS_COMPLETED, runsCompleted: 6, runsFailed: 0, runsWaiting: 0, runsUnderWay: 0 });
    expect(mostAtOnce).toBeLessThanOrEqual(2);
    const ids = runs.map((one) => one.run!.runId);
    expect(new Set(ids).size).toBe(6);
    const listed: v1.ListRunsResponse = await unary((done) =>
      server.runs.listRuns(v1.ListRunsRequest.fromPartial({ pageSize: 100 }), done),
    );
    expect(listed.runs.map(({ runId }) => runId).sort()).toEqual([...ids].sort()); // no run was launched twice
    for (const id of ids) expect(recordProblems(await server.events(id))).toEqual([]);
    expect(groups.map(({ variant, runs: n, measures }) => [variant, n, measures[0]!.figure!.n])).toEqual([
      ['nuteprune', 2, 2],
      ['distill', 2, 2],
      ['wanda', 2, 2],
    ]);
    expect(groups[0]!.measures[0]!.figure!.spread).toBeGreaterThan(0);
  });

  it('ends in the same bits as its runs launched by hand', async () => {
    const { runs } = await get('recipes');
    const alone = await server.completed((await server.launch({ totalSteps: 60, seed: 2n })).runId);
    expect(alone.stateDigest).toBe(
      runs.find(({ variant, settings }) => variant === 'nuteprune' && settings!.seed === 2n)!.run!.stateDigest,
    );
  });

  it('launched again gets only the runs that it does not have', async () => {
    expect((await launch('recipes', recipes)).added).toBe(0);
    const more = [...recipes, studyRun('wanda', { recipe: v1.Recipe.RECIPE_WANDA, totalSteps: 1, calibrationSequences: 8, seed: 3n })];
    expect((await launch('recipes', more)).added).toBe(1);
    const { study } = await until('recipes', (detail) => detail.study!.runsCompleted === 7 && detail.study!.endedAt !== undefined);
    expect(study!.runs).toBe(7);
  });

  it('with rungs gives more steps to the best of each alone, though it is killed at a decision', async () => {
    const halving = { setting: 'total_steps', rungs: [20, 40, 60], keep: 0.5 };
    const contender = (maskLearningRate: number): v1.StudyRunRequest => {
      const one = studyRun('rate', { maskLearningRate, sparsityControl: v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS });
      delete one.settings!.totalSteps;
      return one;
    };
    const contenders = [0.02, 0.05, 0.1, 0.2].map(contender);
    expect(await launch('rungs', contenders, 2, halving)).toMatchObject({ added: 4, study: { halving } });
    await until('rungs', ({ study, rungs }) => rungs.length === 1 || study!.runsCompleted === 4);
    await server.kill('engine', 'store');
    await server.start();
    const { study, runs, rungs } = await until('rungs', (detail) => detail.study!.endedAt !== undefined);
    expect(study).toMatchObject({ runsCompleted: 7, runsFailed: 0 });
    expect(runs.map(({ rung, settings }) => [rung, settings!.totalSteps])).toEqual([
      ...contenders.map(() => [0, 20]),
      ...[0, 1].map(() => [1, 40]),
      [2, 60],
    ]);
    expect(rungs.map(({ rung, budget, contenders: all }) => [rung, budget, all.map(({ goesOn }) => goesOn)])).toEqual([
      [0, 20, [true, true, false, false]],
      [1, 40, [true, false]],
    ]);
    // The values that decided are those that the runs themselves record.
    for (const { rung, contenders: all } of rungs)
      for (const { settings, perplexity } of all) {
        const own = runs.find((one) => one.rung === rung && String(one.settings!.maskLearningRate) === settings['mask_learning_rate']);
        expect(perplexity!.mean).toBe(own!.run!.evaluations.find(({ headline }) => headline)!.perplexity);
      }
    const wrong = (other: object): Promise<unknown> =>
      launch('other', contenders, 2, { ...halving, ...other }).catch((error: unknown) => error);
    for (const [other, field] of [
      [{ setting: 'seed' }, 'halving.setting'],
      [{ rungs: [20] }, 'halving.rungs'],
      [{ rungs: [40, 20] }, 'halving.rungs'],
      [{ keep: 1 }, 'halving.keep'],
      [{ rungs: [20, 2_000_000_000] }, 'runs[0].settings.total_steps'],
    ] as const)
      expect(await wrong(other)).toMatchObject({ violations: expect.arrayContaining([expect.objectContaining({ field })]) as unknown });
    expect(await launch('other', [studyRun('a', {})], 2, halving).catch((error: unknown) => error)).toMatchObject({
      violations: [expect.objectContaining({ field: 'runs[0].settings.total_steps' })],
    });
    expect(codeOf(await launch('rungs', [...contenders, contender(0.3)], 2, halving).catch((error: unknown) => error))).toBe('STUDY_FIXED');
  });

  it('that is cancelled cancels what is under way, also when it is killed at that moment', async () => {
    await launch(
      'long',
      [1n, 2n, 3n].map((seed) => studyRun('long', { ...ENDLESS, seed })),
      1,
    );
    await until('long', ({ runs }) => runs.some((one) => (one.run?.step ?? 0n) > 0n));
    await server.study<v1.CancelStudyResponse>((client, done) => client.cancelStudy({ studyId: 'long', reason: 'enough' }, done));
    await server.kill();
    await server.start();
    const { study, runs } = await until('long', (detail) => detail.study!.endedAt !== undefined);
    expect(study).toMatchObject({ status: STUDY_STATUS_CANCELLED, runsCancelled: 1, runsWaiting: 0 });
    expect(runs.filter((one) => one.run === undefined)).toHaveLength(2);
    expect(codeOf(await launch('long', [studyRun('more', {})]).catch((error: unknown) => error))).toBe('STUDY_ENDED');
  });

  it('is read with the whole store when that is verified', async () => {
    const { summary } = (await collect(server.history.verifyAll({}))).at(-1)!;
    expect(summary).toMatchObject({ ok: true, problems: [], studies: 3n });
  });
});
