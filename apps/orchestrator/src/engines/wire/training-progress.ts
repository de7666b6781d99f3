// The reports of an engine while it trains.
import type { engineV1 } from '#protocol';

export interface EndedSegment {
  outcome: engineV1.SegmentOutcome;
  /** The state as bytes, or in a file whose name begins with the given prefix; null where the state was not asked for. */
  state: Uint8Array | { file: string } | null;
}

/** The reports of a training call, in the order of the steps. */
export type TrainingProgress =
  | { kind: 'calibrated'; share: number }
  | { kind: 'steps'; steps: engineV1.StepReport[] }
  | { kind: 'segment'; segment: EndedSegment }
  | { kind: 'end'; end: engineV1.TrainingEnd };
