// The reports of an engine while it trains.
import type { engineV1 } from '#protocol';

/** A state that an engine holds. */
export interface StateUnderWay {
  /** Resolves to 'stored' when the store has it, or else to its bytes. @throws EspalierError ENGINE_LOST */
  arrival: Promise<Uint8Array | 'stored'>;
}

export interface EndedSegment {
  outcome: engineV1.SegmentOutcome;
  /**
   * The state as bytes, in a file whose name begins with the given prefix, or on its way from the engine to the store. null where the state
   * was not asked for, or the engine holds it.
   */
  state: Uint8Array | { file: string } | StateUnderWay | null;
}

/** The reports of a training call, in the order of the steps. */
export type TrainingProgress =
  | { kind: 'calibrated'; share: number }
  | { kind: 'steps'; steps: engineV1.StepReport[] }
  | { kind: 'segment'; segment: EndedSegment }
  | { kind: 'end'; end: engineV1.TrainingEnd };
