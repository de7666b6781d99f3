// Every fact that is stored about a study, in the past tense. Its stream is `study-<studyId>`. The bytes and the digest chain have the form
// of those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { eventTypesOf } from '../event-sourcing/event-types.js';
import type { DataReading } from '../pruning-run/record/pruning-run.events.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';

/** A run as the study asks for it. */
export interface PlannedRun {
  /** A digest of model, data and complete settings. Runs with equal keys are the same run. */
  key: string;
  /** The name of the run's line in tables and plots. */
  variant: string;
  modelPath: string;
  data: DataReading & { trainPath: string; validationPath: string };
  settings: RequestedSettings;
  /** The rung of the run, counted from 0. Absent for the first rung. */
  rung?: number;
}

/** Successive halving: how many steps the runs of each rung have, and which share of the contenders goes on to the next. */
export interface Halving {
  setting: 'totalSteps' | 'recoverSteps';
  /** The values of that setting, in ascending order. */
  rungs: number[];
  keep: number;
}

/** The result of a run by which its rung was decided. */
export interface RungResult {
  key: string;
  /** Null where the run did not complete or has no perplexity. */
  perplexity: number | null;
  missedTarget: boolean;
}

interface Facts {
  /** An `atOnce` of 0 means as many as there are engines. */
  StudyLaunched: { studyId: string; name: string; note: string; atOnce: number; halving?: Halving; runs: PlannedRun[] };
  /** The study was launched again with runs that it did not have. */
  StudyExtended: { atOnce: number; runs: PlannedRun[] };
  StudyRunLaunched: { key: string; runId: string };
  /** The run can't be launched, and is not tried again. */
  StudyRunRefused: { key: string; code: string; message: string; field: string };
  /** All runs of a rung that race one another have ended. `runs` are the runs of the next rung. */
  StudyRungDecided: { race: string; rung: number; results: RungResult[]; runs: PlannedRun[] };
  StudyCancelled: { reason: string };
  /** All runs of the study have ended, in whatever way. */
  StudyEnded: { runsCompleted: number };
}

export type StudyEventType = keyof Facts;
export type NewStudyFact = {
  [T in StudyEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[StudyEventType];
export type StudyEvent = (NewStudyFact & Envelope) | UnknownEvent;

export const STUDY_STREAM_PREFIX = 'study-';

export const studyEventTypes = eventTypesOf<StudyEventType>({
  StudyLaunched: true,
  StudyExtended: true,
  StudyRunLaunched: true,
  StudyRunRefused: true,
  StudyRungDecided: true,
  StudyCancelled: true,
  StudyEnded: true,
});
