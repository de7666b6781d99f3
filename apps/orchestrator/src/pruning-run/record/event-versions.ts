// The types of a run's events, and their version.
import { eventTypesOf } from '../../event-sourcing/event-types.js';
import type { PruningRunEventType } from './pruning-run.events.js';

export const CURRENT_VERSION = 1;

/** This is a record, not a list, so that the compiler asks for every type. */
const knownTypes: Record<PruningRunEventType, true> = {
  RunLaunched: true,
  RunForked: true,
  RunPrepared: true,
  AttemptStarted: true,
  StepsChosen: true,
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

export const eventTypes = eventTypesOf(knownTypes, CURRENT_VERSION);
