// Tests the mean course of a quantity over many runs.
import { v1 } from '#protocol';
import { launched, stateAt, Story } from '../../pruning-run/testing.js';
import { filteredRuns } from '../../views/run-list.js';
import { RunProjection } from '../../views/projection/run-projection.js';
import type { RunViews } from '../../views/run-views.js';
import { Recorder, stepMeasured, withDatabase } from '../../views/testing.js';
import { MeanCurves } from './mean-curves.js';

describe('the mean curves of runs', () => {
  const views = withDatabase();
  const projection = new RunProjection(views.database);
  const means = new MeanCurves();
  const stories = new Map<string, { story: Story; recorder: Recorder; recorded: number }>();
  const source = {
    database: views.database,
    matching: async (filter: v1.ListRunsRequest) => filteredRuns(views.database, filter, [], 0),
  } as unknown as RunViews;
  const asked = (request: Partial<v1.QueryMeanCurvesRequest>): Promise<v1.QueryMeanCurvesResponse> => {
    return means.query(source, v1.QueryMeanCurvesRequest.fromPartial({ quantity: 'loss', ...request }), new AbortController().signal);
  };
  /** Lets a run go on to a step. All of its steps have this loss. */
  const trained = (runId: string, loss: number, step: number, targetSparsity = 0.5): void => {
    const known = stories.get(runId) ?? {
      story: new Story(launched({ totalSteps: 300, targetSparsity }, runId)).start(),
      recorder: new Recorder((at) => stepMeasured(at, loss)),
      recorded: 0,
    };
    known.story.train(stateAt(step, 0.1));
    const { events } = known.recorder;
    const before = events.length;
    known.recorder.record(runId, known.story.facts.slice(known.recorded));
    projection.apply(events.slice(before), events.at(-1)!.position);
    stories.set(runId, { ...known, recorded: known.story.facts.length });
  };
  beforeAll(() => {
    trained('aaaaaaaaaaa2', 1, 100);
    trained('bbbbbbbbbbb2', 2, 100);
    trained('ccccccccccc2', 6, 50);
    trained('ddddddddddd2', 8, 50, 0.25);
  });
  afterAll(() => views.close());

  test('count each run once at each point, and only where it has steps', async () => {
    const { groups, runs, stepsPerPoint } = await asked({ maxPoints: 2, where: ['target_sparsity=0.5'] });
    expect([runs, stepsPerPoint]).toEqual([3, 50n]);
    expect(groups).toEqual([{ values: [], runs: 3, steps: [0n, 50n], mean: [3, 1.5], spread: [Math.sqrt(7), Math.SQRT1_2], n: [3, 2] }]);
  });

  test('have a line for each group, in the order of the values', async () => {
    const { groups } = await asked({ by: ['target_sparsity'], maxPoints: 1 });
    expect(groups.map(({ values, mean }) => [values, mean])).toEqual([
      [['0.25'], [8]],
      [['0.5'], [3]],
    ]);
    const part = await asked({ fromStep: 60n, toStep: 69n });
    expect(part.groups[0]).toMatchObject({ runs: 2, steps: Array.from({ length: 10 }, (_, index) => BigInt(60 + index)) });
  });

  test('go on when a run does', async () => {
    const { steps } = (await asked({ by: ['target_sparsity'], maxPoints: 4 })).groups[0]!;
    expect(steps).toEqual([0n, 25n]);
    trained('ddddddddddd2', 8, 75, 0.25);
    const [first] = (await asked({ by: ['target_sparsity'], maxPoints: 4 })).groups;
    expect(first).toMatchObject({ steps: [0n, 25n, 50n], mean: [8, 8, 8] });
  });

  test('are refused with what is allowed', async () => {
    await expect(asked({ quantity: 'colour' })).rejects.toThrow(/"colour" is not a quantity; allowed are loss/);
    await expect(asked({ maxPoints: 1_001 })).rejects.toThrow(/1 to 1000/);
    await expect(asked({ fromStep: 5n, toStep: 4n })).rejects.toThrow(/from_step/);
    await expect(asked({ by: ['colour'] })).rejects.toThrow(/there is no figure "colour"/);
  });
});
