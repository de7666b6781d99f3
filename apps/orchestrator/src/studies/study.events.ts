// Every fact that is stored about a study, in the past tense. Stream: `study-<studyId>`. Bytes and digest chain as those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { upcastBy, type EventTypes } from '../event-sourcing/event-types.js';
import type { DataReading } from '../pruning-run/record/pruning-run.events.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';

/** A run as the study asks for it. */
export interface PlannedRun {
  /** A digest of model, data and complete settings: equal ones are the same run. */
  key: string;
  /** Names its line in tables and plots. */
  variant: string;
  modelPath: string;
  data: DataReading & { trainPath: string; validationPath: string };
  settings: RequestedSettings;
  /** Where the study has rungs; left out: the first. */
  rung?: number;
}

/** Successive halving: how far the runs of each rung go, and which share of the contenders goes on to the next. */
export interface Halving {
  setting: 'totalSteps' | 'recoverSteps';
  /** Values of that setting, ascending. */
  rungs: number[];
  keep: number;
}

/** The outcome of a run, as its rung was decided by it. */
export interface RungResult {
  key: string;
  /** null: it did not complete, or has none. */
  perplexity: number | null;
  missedTarget: boolean;
}

interface Facts {
  /** atOnce 0: as many as engines */
  StudyLaunched: { studyId: string; name: string; note: string; atOnce: number; halving?: Halving; runs: PlannedRun[] };
  /** The study was launched again with runs that it did not have. */
  StudyExtended: { atOnce: number; runs: PlannedRun[] };
  StudyRunLaunched: { key: string; runId: string };
  /** It can't be launched, and is not tried again. */
  StudyRunRefused: { key: string; code: string; message: string; field: string };
  /** All runs of a rung have ended that race one another; `runs` go on in the next. */
  StudyRungDecided: { race: string; rung: number; results: RungResult[]; runs: PlannedRun[] };
  StudyCancelled: { reason: string };
  /** All of its runs have ended, whichever way. */
  StudyEnded: { runsCompleted: number };
}

export type StudyEventType = keyof Facts;
export type NewStudyFact = {
  [T in StudyEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[StudyEventType];
export type StudyEvent = (NewStudyFact & Envelope) | UnknownEvent;

export const STUDY_STREAM_PREFIX = 'study-';

/** A record, so that the compiler asks for every type. */
const knownTypes: Record<StudyEventType, true> = {
  StudyLaunched: true,
  StudyExtended: true,
  StudyRunLaunched: true,
  StudyRunRefused: true,
  StudyRungDecided: true,
  StudyCancelled: true,
  StudyEnded: true,
};
const CURRENT_VERSION = 2; // the first one whose chain covers the events' ids (event-codec.ts)

export const studyEventTypes: EventTypes = {
  currentVersion: CURRENT_VERSION,
  isKnown: (type) => Object.hasOwn(knownTypes, type),
  upcast: (type, from, fields) => upcastBy<StudyEventType>({}, type as StudyEventType, { from, to: CURRENT_VERSION }, fields),
};
