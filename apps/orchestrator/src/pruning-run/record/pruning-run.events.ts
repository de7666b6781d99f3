// Every fact that is stored about a pruning run, in the past tense. A run's stream is `pruningRun-<runId>`. libs/audit/src/event-schemas.ts
// describes the fields of each.
//
// The stored bytes are the canonical JSON of `{ "v": schema version, "at": ISO time, "chain": digest, "context": who asked, ...fields }`
// (see stored-event.ts). So the digest chain can be recomputed from the stream alone, and it covers every event. Digests are SHA-256 in
// lower-case hex. Steps count from 0, and `step` in an event is the number of steps that are done. Events never hold tensors.

import type { EventData, KnownType } from '#audit';
import type { SettingValues } from '#protocol';
import type { CallContext } from '../../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../../event-sourcing/event-codec.js';

export type {
  Budget,
  DataIdentity,
  DataReading,
  DiscardedArtifact,
  ExportProof,
  ExportSize,
  InheritedTeacher,
  LoaderProof,
  MadeExport,
  ModelIdentity,
  Obstacle,
  PhaseKind,
  RefitOutcome,
  ScannedForm,
  SegmentLoss,
  StateFact,
  StepRates,
  TeacherChoice,
  TeacherReason,
  TokenShard,
  TokenSource,
} from '#audit';

/**
 * The complete settings of a run. With the model and the data they determine every bit of the result. The table of settings is in
 * proto/espalier/v1/common.proto.
 */
export type RunSettings = SettingValues;
export type SparsityControl = RunSettings['sparsityControl'];

export type PruningRunEventType = KnownType;
export type PruningRunEventData<T extends PruningRunEventType> = EventData<T>;
/** The scores that a scan gave the forms of a layer. */
export type LayerScan = Omit<EventData<'LayerScanned'>, 'attempt'>;
/** A fact that was decided and is not stored yet. */
export type NewFact = {
  [T in PruningRunEventType]: { type: T; at: string; data: EventData<T>; context?: CallContext | undefined };
}[PruningRunEventType];
export type PruningRunEvent = { [T in PruningRunEventType]: Envelope & { type: T; data: EventData<T> } }[PruningRunEventType];
export type RecordedEvent = PruningRunEvent | UnknownEvent;
