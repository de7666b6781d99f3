// Events of every past version stay readable: an upcaster turns the fields of version n into those of version n + 1. The folder histories
// has recorded histories of each version, which a test replays.
import { withUnrecorded } from '#protocol';
import { upcastBy, type EventTypes, type Fields, type Upcaster, type Upcasters } from '../../event-sourcing/event-types.js';
import { perplexityOver } from './measures.js';
import type { PruningRunEventType, RunSettings } from './pruning-run.events.js';

/** In version 2 the digest chain also covers the event's id. Version 3 added phases, and evaluations by any metric. */
export const CURRENT_VERSION = 3;

const pruning: Upcaster = (fields) => ({ ...fields, phase: 'prune' });

const upcasters: Upcasters<PruningRunEventType> = {
  EvaluationRecorded: {
    2: ({ window, perplexity, negativeLogLikelihood, predictions, ...rest }) => ({
      ...rest,
      ...perplexityOver(Number(window)),
      value: perplexity,
      stderr: null,
      n: predictions,
      details: { negativeLogLikelihood },
    }),
  },
  // Before version 3 a run had only one phase.
  TeacherAssigned: { 2: pruning },
  MasksUpdated: { 2: pruning },
  TeacherSnapshotted: { 2: pruning },
};

/** This is a record, not a list, so that the compiler asks for every type. */
const knownTypes: Record<PruningRunEventType, true> = {
  RunLaunched: true,
  RunForked: true,
  RunPrepared: true,
  AttemptStarted: true,
  EngineAttached: true,
  TeacherAssigned: true,
  SparsityAdvanced: true,
  MasksUpdated: true,
  TeacherSnapshotted: true,
  PhaseStarted: true,
  TargetSparsityReached: true,
  StepsSkipped: true,
  EngineLost: true,
  RunPauseRequested: true,
  RunPaused: true,
  RunResumed: true,
  RunRewound: true,
  RunCompleted: true,
  RunFailed: true,
  RunCancelled: true,
  EvaluationRecorded: true,
  ModelExported: true,
  RunDescribed: true,
  ArtifactsDiscarded: true,
  RunDeleted: true,
};

export const knownTypeNames = Object.keys(knownTypes);

function isKnownType(type: string): type is PruningRunEventType {
  return Object.hasOwn(knownTypes, type);
}

/**
 * Brings the fields of an event to the current version. A run that was recorded before a setting existed gets the setting's value of that
 * time.
 */
function upcast(type: PruningRunEventType, version: number, fields: Fields): Fields {
  const result = upcastBy(upcasters, type, { from: version, to: CURRENT_VERSION }, fields);
  if (type === 'RunLaunched' || type === 'RunForked') return { ...result, settings: withUnrecorded(result['settings'] as RunSettings) };
  return result;
}

export const eventTypes: EventTypes = {
  currentVersion: CURRENT_VERSION,
  isKnown: isKnownType,
  upcast: (type, version, fields) => upcast(type as PruningRunEventType, version, fields),
};
