// Puts the steps that are done and not recorded yet behind the recorded points of a run's curves.
import type { Curve, QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';

/**
 * @param tail the points of later steps, which may have been asked for before the recorded ones and overlap them
 * @returns the recorded points alone where steps between them and the tail are missing
 */
export function withTail(recorded: QueryCurvesResponse, tail: QueryCurvesResponse | undefined): QueryCurvesResponse {
  const last = recorded.steps.at(-1) ?? -1n;
  const from = tail?.steps.findIndex((step) => step > last) ?? -1;
  if (tail === undefined || from < 0) return recorded;
  const isNext = from > 0 || (tail.steps[from] ?? Infinity) <= last + tail.stepsPerPoint || recorded.steps.length === 0;
  if (!isNext) return recorded;
  const joined = (curve: Curve): Curve => {
    const more = tail.curves.find(({ quantity }) => quantity === curve.quantity);
    const values = (of: 'mean' | 'lowest' | 'highest'): number[] => (more?.[of].length ? more[of] : (more?.mean ?? [])).slice(from);
    return {
      ...curve,
      mean: [...curve.mean, ...values('mean')],
      // Points of single steps have no band of their own.
      ...(recorded.stepsPerPoint > 1n
        ? { lowest: [...curve.lowest, ...values('lowest')], highest: [...curve.highest, ...values('highest')] }
        : {}),
    };
  };
  return {
    ...recorded,
    steps: [...recorded.steps, ...tail.steps.slice(from)],
    seconds: [...recorded.seconds, ...tail.seconds.slice(from)],
    endedAt: [...recorded.endedAt, ...tail.endedAt.slice(from)],
    curves: recorded.curves.map(joined),
  };
}
