// Every version that an event was ever stored with stays readable: an upcaster turns the fields of version n into those
// of n+1. histories/ holds recorded histories of each version; a test replays them.
import { withUnrecorded } from '#protocol';
import { upcastBy, type EventTypes, type Fields, type Upcaster, type Upcasters } from '../../event-sourcing/event-types.js';
import { perplexityOver } from './measures.js';
import type { PruningRunEventType, RunSettings } from './pruning-run.events.js';

/** Version 2 differs from 1 in its chain alone, which covers the event's id too; version 3 has evaluations of any metric, and phases. */
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
  // A run had one phase.
  TeacherAssigned: { 2: pruning },
  MasksUpdated: { 2: pruning },
  TeacherSnapshotted: { 2: pruning },
};

/** A record, so that the compiler asks for every type. */
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

export function isKnownType(type: string): type is PruningRunEventType {
  return Object.hasOwn(knownTypes, type);
}

/** A run that was recorded before a setting existed has the same value for it in every version of the event. */
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
