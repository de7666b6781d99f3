// Tests recovery with the real processes on the tiny model: masks are frozen, LoRA goes on learning, and disturbances do not change the
// end.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer, unary } from './harness/server.js';

const RECOVERING = { recoverSteps: 60, recoverLearningRate: 0.01, recoverKlLossWeight: 0.1 };

describe('a run that recovers after pruning', () => {
  const server = TestServer.inNewFolder();
  let done: v1.Run;

  beforeAll(async () => {
    await server.start();
    done = await server.completed((await server.launch(RECOVERING)).runId);
  });
  afterAll(() => server.dispose());

  it('trains through both phases, with the masks that it was pruned to, and its record says so', async () => {
    expect(done).toMatchObject({
      step: 180n,
      phase: 'recover',
      phases: [
        { kind: 'prune', endStep: 120n },
        { kind: 'recover', endStep: 180n },
      ],
    });
    const events = await server.events(done.runId);
    expect(recordProblems(events)).toEqual([]);
    const segments = events.filter(({ type }) => type === 'MasksUpdated').map(({ dataJson }) => JSON.parse(dataJson) as Segment);
    const masks = segments.filter(({ state }) => state.step >= 120).map(({ state }) => state.masksDigest);
    expect(new Set(masks).size).toBe(1);
    expect(segments.map(({ phase }) => phase)).toEqual(segments.map(({ firstStep }) => (firstStep < 120 ? 'prune' : 'recover')));
    const { steps } = await unary<v1.QueryMetricsResponse>((cb) =>
      server.history.queryMetrics(v1.QueryMetricsRequest.fromPartial({ runId: done.runId, fromStep: 120n, maxPoints: 1000 }), cb),
    );
    expect(steps).toHaveLength(60);
    for (const one of steps)
      expect([one.lmLoss !== undefined, one.klLoss !== undefined, one.layerLoss !== undefined]).toEqual([true, true, true]);
  });

  it('ends in the same bits where it is killed while it recovers', async () => {
    const again = await server.disturbed({
      launch: () => server.launch(RECOVERING),
      when: ({ step }) => step > 120n,
      by: () => server.killAll(),
    });
    expect([again.stateDigest, again.restarts > 0]).toEqual([done.stateDigest, true]);
  });

  it('is the same as a run without recovery that is forked into it', async () => {
    const parent = await server.completed((await server.launch({})).runId);
    const { run } = await unary<v1.ForkRunResponse>((cb) =>
      server.runs.forkRun(
        v1.ForkRunRequest.fromPartial({ parentRunId: parent.runId, from: { $case: 'lastState', value: true }, settings: RECOVERING }),
        cb,
      ),
    );
    expect((await server.completed(run!.runId)).stateDigest).toBe(done.stateDigest);
  });

  it('goes on for longer in a fork, whose record is whole and true', async () => {
    const { run } = await unary<v1.ForkRunResponse>((cb) =>
      server.runs.forkRun(
        v1.ForkRunRequest.fromPartial({
          parentRunId: done.runId,
          from: { $case: 'lastState', value: true },
          settings: { recoverSteps: 70 },
        }),
        cb,
      ),
    );
    await server.completed(run!.runId);
    expect(await server.problemsOf(run!.runId)).toEqual([]);
  });

  it('is computed again step by step across the change of phase, and exported', async () => {
    const { runId } = done;
    const verified = await collect(
      server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: 100n, toStep: 150n })),
    );
    expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    const exported = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, skipProof: true })));
    expect(exported.at(-1)!.export).toMatchObject({ step: 180n, stateDigest: done.stateDigest });
  });
});

interface Segment {
  phase: string;
  firstStep: number;
  state: { step: number; masksDigest: string };
}
