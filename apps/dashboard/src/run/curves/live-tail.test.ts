import { create } from '@bufbuild/protobuf';
import { QueryCurvesResponseSchema, type QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import { withTail } from './live-tail.js';

/** Each step's loss is its number. */
function points(steps: number[], width = 1): QueryCurvesResponse {
  const mean = [...steps];
  const band = width > 1 ? { lowest: mean.map((one) => one - 1), highest: mean.map((one) => one + 1) } : {};
  return create(QueryCurvesResponseSchema, {
    stepsPerPoint: BigInt(width),
    steps: steps.map(BigInt),
    seconds: steps.map(() => 0.5),
    endedAt: steps,
    curves: [{ quantity: 'loss', mean, ...band }],
  });
}
const losses = (one: QueryCurvesResponse): number[] => one.curves[0]!.mean;

describe('the steps of a curve that are not recorded yet', () => {
  test('follow the recorded ones, each once', () => {
    const all = withTail(points([0, 1, 2]), points([3, 4]));
    expect(losses(all)).toEqual([0, 1, 2, 3, 4]);
    expect([all.steps.length, all.seconds.length, all.endedAt.length]).toEqual([5, 5, 5]);
    expect(losses(withTail(points([0, 1, 2, 3]), points([3, 4])))).toEqual([0, 1, 2, 3, 4]);
    expect(losses(withTail(points([]), points([0, 1])))).toEqual([0, 1]);
  });

  test('are left out where steps before them are missing, and where there are none', () => {
    expect(losses(withTail(points([0, 1]), points([5, 6])))).toEqual([0, 1]);
    expect(losses(withTail(points([0, 1]), points([0, 1])))).toEqual([0, 1]);
    expect(losses(withTail(points([0, 1]), undefined))).toEqual([0, 1]);
  });

  test('have no band beside points of several steps', () => {
    const [curve] = withTail(points([9, 19], 10), points([20, 21])).curves;
    expect(curve).toMatchObject({ mean: [9, 19, 20, 21], lowest: [8, 18, 20, 21], highest: [10, 20, 20, 21] });
  });
});
