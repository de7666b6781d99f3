// Tests curves over the steps of a run. However wide points are, every step is in one point and abandoned steps are in none.
import { v1 } from '#protocol';
import { LiveProgress } from '../../live/live-progress.js';
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import { fact, launched, stateAt, Story } from '../../pruning-run/testing.js';
import { readSegments, stepsOf } from '../../views/projection/metrics-reader.js';
import { RunProjection } from '../../views/projection/run-projection.js';
import type { RunSummary } from '../../views/projection/run-detail.js';
import type { RunViews } from '../../views/run-views.js';
import { Recorder, withDatabase } from '../../views/testing.js';
import { CurveBins } from './curve-bins.js';
import { queryCurves } from './query-curves.js';

const RUN = 'aaaabbbbcccc';

describe('the curves of a run', () => {
  const views = withDatabase();
  const recorder = new Recorder();
  const projection = new RunProjection(views.database);
  const bins = new CurveBins();
  const live = new LiveProgress();
  const story = new Story(launched({ totalSteps: 3_000 }, RUN)).start();
  let told = 0;
  const record = (): void => {
    const before = recorder.events.length;
    recorder.record(RUN, story.facts.slice(told));
    told = story.facts.length;
    projection.apply(recorder.events.slice(before), recorder.events.at(-1)!.position);
  };
  const summary = (): RunSummary => {
    const row = views.database.prepare('SELECT summary FROM run_details WHERE run_id = ?').get(RUN) as { summary: string };
    return JSON.parse(row.summary) as RunSummary;
  };
  const asked = (request: Partial<v1.QueryCurvesRequest>): Promise<v1.QueryCurvesResponse> => {
    const source = { database: views.database, summary: async () => summary(), live, now: Date.now } as unknown as RunViews;
    return queryCurves(source, bins, v1.QueryCurvesRequest.fromPartial({ runId: RUN, ...request }), new AbortController().signal);
  };
  const recordedRows = (): Float64Array => [...readSegments(views.database, RUN, { fromStep: 0, toStep: 0 })][0]!.rows;
  const loss = (step: number): number => 1 / (step + 1);
  beforeAll(() => {
    for (let step = 100; step <= 2_000; step += 100) story.train(stateAt(step, 0.1));
    record();
  });
  afterAll(() => views.close());

  test.each([1, 7, 31, 100, 700, 5_000])(
    'of at most %i points: each has the lowest, mean and highest loss of its steps',
    async (maxPoints) => {
      const answer = await asked({ maxPoints, quantities: ['loss'] });
      expect(answer.steps.length).toBeLessThanOrEqual(maxPoints);
      expect(answer.totalSteps).toBe(2_000n);
      expect(answer.steps.at(-1)).toBe(1_999n);
      const width = Number(answer.stepsPerPoint);
      const { mean, lowest, highest } = answer.curves[0]!;
      answer.steps.forEach((last, point) => {
        const steps = Array.from({ length: Number(last) - point * width + 1 }, (_, index) => point * width + index);
        expect(mean[point]).toBeCloseTo(steps.reduce((sum, step) => sum + loss(step), 0) / steps.length, 12);
        if (width > 1) expect([lowest[point], highest[point]]).toEqual([loss(steps.at(-1)!), loss(steps[0]!)]);
      });
    },
  );

  test('while the run goes on and when it is rewound, they say what the record says', async () => {
    story.train(stateAt(2_100, 0.1));
    record();
    expect(await asked({ maxPoints: 10, quantities: ['loss'] })).toMatchObject({ totalSteps: 2_100n });
    const hard = await asked({ fromStep: 2_090n, quantities: ['hard_sparsity', 'parameters'] });
    const { hardSparsity, size } = stateAt(2_100, 0.1);
    const ofStates = [hardSparsity, size.parameterCount].map((value) => [...Array<number>(9).fill(NaN), value]);
    expect(hard.curves.map(({ mean }) => mean)).toEqual(ofStates);
    const zoomed = await asked({ fromStep: 2_050n, toStep: 2_059n });
    expect(zoomed.steps).toEqual(Array.from({ length: 10 }, (_, index) => BigInt(2_050 + index)));
    story.facts.push(
      fact('RunPaused', { step: 2_100, by: 'request' }),
      fact('RunRewound', {
        toStep: 1_000,
        state: stateAt(1_000, 0.1),
        teacherMark: 1,
        abandonedFromRevision: 20,
        acceptOtherNumerics: false,
        targetReachedStep: null,
      }),
    );
    story.start(2).train(stateAt(1_100, 0.1, 'again'));
    record();
    expect(await asked({ maxPoints: 10, quantities: ['loss'] })).toMatchObject({ totalSteps: 1_100n });
    const abandoned = await asked({ abandonedByRewind: 0, maxPoints: 10, quantities: ['loss'] });
    expect([abandoned.totalSteps, abandoned.steps.at(-1)]).toEqual([1_100n, 2_099n]);
    const part = await asked({ abandonedByRewind: 0, fromStep: 900n, toStep: 1_001n, quantities: ['loss'] });
    expect(part.steps).toEqual([1_000n, 1_001n]);
    const before = summary().extras.rewinds[0]!.revision - 1;
    const then = await asked({ atRevision: BigInt(before), maxPoints: 10, quantities: ['loss'] });
    expect([then.totalSteps, then.steps.at(-1)]).toEqual([2_100n, 2_099n]); // as if nothing had been rewound
    const rewound = await asked({ atRevision: BigInt(before + 1), maxPoints: 10, quantities: ['loss'] });
    expect([rewound.totalSteps, rewound.steps.at(-1)]).toEqual([1_000n, 999n]);
    const early = await asked({ atRevision: 0n, quantities: ['loss'] });
    expect(early.totalSteps).toBe(0n);
    expect((await asked({ atRevision: BigInt(summary().run.revision), quantities: ['loss'] })).totalSteps).toBe(1_100n);
    await expect(asked({ atRevision: 1n, live: true })).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE' });
    await expect(asked({ abandonedByRewind: 1 })).rejects.toThrow('is 1, but the run has 1 rewind');
  });

  test('may go on with the steps that are not recorded yet, and asking for them counts as watching', async () => {
    const recorded = Number((await asked({ maxPoints: 10, quantities: ['loss'] })).totalSteps);
    const measured = (step: number): StepMeasurement => ({ ...stepsOf(recordedRows())[0]!, step, loss: step });
    live.report(RUN, 1, [measured(recorded), measured(recorded + 1)]);
    const zoomed = { fromStep: BigInt(recorded - 1), quantities: ['loss', 'hard_sparsity'] };
    const { steps, curves } = await asked({ ...zoomed, live: true });
    expect(steps).toEqual([-1, 0, 1].map((more) => BigInt(recorded + more)));
    expect(curves[0]!.mean.slice(1)).toEqual([recorded, recorded + 1]);
    expect(curves[1]!.mean.slice(1)).toEqual([NaN, NaN]); // hard sparsity belongs to recorded states
    expect(live.isWatched(RUN)).toBe(true);
    expect((await asked(zoomed)).steps).toEqual([BigInt(recorded - 1)]);
    expect((await asked({ maxPoints: 10, quantities: ['loss'], live: true })).totalSteps).toBe(BigInt(recorded + 2)); // in wide points, too
  });

  test('the points end when their last steps did, though segments are recorded together', async () => {
    const { endedAt, seconds } = await asked({ maxPoints: 20, toStep: 999n });
    expect(endedAt.length).toBe(seconds.length);
    for (let at = 1; at < endedAt.length; at += 1) expect(endedAt[at]! - endedAt[at - 1]!).toBeGreaterThanOrEqual(seconds[at]! - 1e-6);
    const recordedAt = views.database.prepare('SELECT max(recorded_at_ms) FROM segments WHERE end_step <= 1000').pluck().get() as number;
    expect(endedAt.at(-1)).toBeCloseTo(recordedAt / 1000, 3);
    expect(recordedAt).toBeGreaterThan(Date.UTC(2020));
  });

  test('an unknown quantity is refused, with the known ones', async () => {
    await expect(asked({ quantities: ['lost'] })).rejects.toMatchObject({ code: 'FIELD_UNKNOWN_VALUE' });
    await expect(asked({ maxPoints: 5_001 })).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE' });
  });
});
