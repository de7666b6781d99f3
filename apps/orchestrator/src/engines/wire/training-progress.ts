// The reports of an engine while it trains.
import type { Slice } from '#files';
import type { engineV1 } from '#protocol';

/** A state in slices that an engine holds on its disk until `release`. Each call of `sent` has it sent from its beginning. */
export interface StateToFetch {
  slices: readonly Slice[];
  sent(): AsyncIterable<Uint8Array>;
  release(): void;
}

/** A state that an engine held: in the store, as bytes, or to be fetched. */
export type StateArrival = 'stored' | Uint8Array | StateToFetch;

/** A state that an engine holds. */
export interface StateUnderWay {
  /** @throws EspalierError ENGINE_LOST */
  arrival: Promise<StateArrival>;
}

/** An engine's report of a segment that it has trained. The client refuses one without a state. */
export type TrainedSegment = engineV1.SegmentOutcome & { state: engineV1.StateSummary };

export interface EndedSegment {
  outcome: TrainedSegment;
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
