// The aggregate of a study. All functions are pure.
import { EspalierError, invalidField } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { canonicalJson } from '../event-sourcing/canonical-json.js';
import { begun } from '../event-sourcing/not-begun-error.js';
import { heatsOf, nextRuns, type Heat } from './halving.js';
import type { Halving, NewStudyFact, PlannedRun, RungResult, StudyEvent } from './study.events.js';

export interface StudyRun extends PlannedRun {
  runId: string | null; // null: not launched
  refusal: { code: string; message: string; field: string } | null;
}

export interface StudyState {
  studyId: string;
  name: string;
  note: string;
  /** The number of runs under way at a time; 0: one for each engine. */
  atOnce: number;
  /** Null where every run is trained to its end. */
  halving: Halving | null;
  /** The decisions on rungs, in their order. */
  decisions: RungDecision[];
  runs: StudyRun[];
  launchedAt: string;
  launchContext: CallContext | null;
  cancelled: { at: string; reason: string } | null;
  /** The time when the last run ended, or null while runs are left. */
  endedAt: string | null;
  revision: number;
  chain: string;
}

interface RungDecision {
  race: string;
  rung: number;
  results: RungResult[];
  at: string;
}

export type StudyChange =
  | { kind: 'launch'; studyId: string; name: string; note: string; atOnce: number; halving?: Halving; runs: PlannedRun[] }
  | { kind: 'runLaunched'; key: string; runId: string }
  | { kind: 'runRefused'; key: string; code: string; message: string; field: string }
  | { kind: 'decideRung'; race: string; rung: number; results: RungResult[] }
  | { kind: 'cancel'; reason: string }
  | { kind: 'end'; runsCompleted: number };

export const studyNotFound = (studyId: string): EspalierError =>
  new EspalierError('STUDY_NOT_FOUND', `there is no study ${studyId}`, {
    violations: [{ field: 'study_id', description: `there is no study ${studyId}`, code: 'STUDY_NOT_FOUND' }],
  });

export function evolve(state: StudyState | null, event: StudyEvent): StudyState | null {
  if (event.type === 'StudyLaunched' && state === null) {
    const { at, chain, context, data } = event;
    return {
      ...data,
      halving: data.halving ?? null,
      decisions: [],
      runs: data.runs.map(planned),
      launchedAt: at,
      launchContext: context ?? null,
      cancelled: null,
      endedAt: null,
      revision: 0,
      chain,
    };
  }
  if (state === null) return null;
  return { ...applied(state, event), revision: state.revision + 1, chain: event.chain };
}

const planned = (run: PlannedRun): StudyRun => ({ ...run, runId: null, refusal: null });

function applied(state: StudyState, event: StudyEvent): StudyState {
  const changed = (key: string, change: Partial<StudyRun>): StudyState => ({
    ...state,
    runs: state.runs.map((run) => (run.key === key ? { ...run, ...change } : run)),
  });
  switch (event.type) {
    case 'Unknown':
    case 'StudyLaunched': // a second launch event changes nothing
      return state;
    case 'StudyExtended':
      return { ...state, atOnce: event.data.atOnce, runs: [...state.runs, ...event.data.runs.map(planned)], endedAt: null };
    case 'StudyRunLaunched':
      return changed(event.data.key, { runId: event.data.runId });
    case 'StudyRunRefused': {
      const { key, ...refusal } = event.data;
      return changed(key, { refusal });
    }
    case 'StudyRungDecided': {
      const { race, rung, results, runs } = event.data;
      const decisions = [...state.decisions, { race, rung, results, at: event.at }];
      return { ...state, decisions, runs: [...state.runs, ...runs.map(planned)] };
    }
    case 'StudyCancelled':
      return { ...state, cancelled: { at: event.at, reason: event.data.reason } };
    case 'StudyEnded':
      return { ...state, endedAt: event.at };
  }
}

/** @throws EspalierError when the study does not allow the change; NotBegun when the study does not exist */
export function decide(state: StudyState | null, change: StudyChange, at: string): NewStudyFact[] {
  if (change.kind === 'launch') return launch(state, change, at);
  return decideOn(begun(state), change, at);
}

function decideOn(state: StudyState, change: Exclude<StudyChange, { kind: 'launch' }>, at: string): NewStudyFact[] {
  switch (change.kind) {
    case 'runLaunched': {
      const { key, runId } = change;
      return state.runs.some((run) => run.key === key && run.runId === null)
        ? [{ type: 'StudyRunLaunched', at, data: { key, runId } }]
        : [];
    }
    case 'runRefused': {
      const { kind: _, ...data } = change;
      const waits = state.runs.some((run) => run.key === data.key && run.runId === null && run.refusal === null);
      return waits ? [{ type: 'StudyRunRefused', at, data }] : [];
    }
    case 'decideRung': {
      const { kind: _, ...data } = change;
      const heat = openHeats(state).find(({ race, rung }) => race === data.race && rung === data.rung);
      if (heat === undefined) return []; // the rung is decided already, or has no use any more
      return [{ type: 'StudyRungDecided', at, data: { ...data, runs: nextRuns(heat, data.results, state.halving!) } }];
    }
    case 'cancel':
      if (state.cancelled !== null) return [];
      if (state.endedAt !== null)
        throw new EspalierError('STUDY_ENDED', `all runs of study ${state.name} have ended: there is nothing to cancel`);
      return [{ type: 'StudyCancelled', at, data: { reason: change.reason } }];
    case 'end':
      return state.endedAt === null ? [{ type: 'StudyEnded', at, data: { runsCompleted: change.runsCompleted } }] : [];
  }
}

function launch(state: StudyState | null, { kind: _, ...data }: StudyChange & { kind: 'launch' }, at: string): NewStudyFact[] {
  if (state !== null && state.cancelled !== null)
    throw new EspalierError('STUDY_ENDED', `study ${state.name} was cancelled and launches no more runs: give the new one another name`);
  const runs = newRuns(data.runs, state?.runs ?? []);
  if (state === null) return [{ type: 'StudyLaunched', at, data: { ...data, runs } }];
  if (state.halving !== null || data.halving !== undefined) {
    if (runs.length > 0 || canonicalJson(state.halving) !== canonicalJson(data.halving ?? null))
      throw new EspalierError(
        'STUDY_FIXED',
        `study ${state.name} is there already, and the runs of a study with rungs stay as they are: give this one another name`,
      );
  }
  if (runs.length === 0 && (state.atOnce === data.atOnce || state.endedAt !== null)) return [];
  return [{ type: 'StudyExtended', at, data: { atOnce: data.atOnce, runs } }];
}

interface PlacedRun {
  run: PlannedRun;
  /** The run's number in the request, or null where the study has it already. */
  index: number | null;
}

/**
 * Plans the requested runs that a study does not have yet. A run has one place in a table, so a request is refused that has a run twice, or
 * that has a run of the study under the name of another variant.
 */
function newRuns(requested: readonly PlannedRun[], study: readonly StudyRun[]): PlannedRun[] {
  const has = new Map<string, PlacedRun>(study.map((run) => [run.key, { run, index: null }]));
  return requested.flatMap((run, index) => {
    const equal = has.get(run.key);
    if (equal === undefined) {
      has.set(run.key, { run, index });
      return [run];
    }
    if (equal.index !== null || equal.run.variant !== run.variant) throw sameRun(run, index, equal);
    return [];
  });
}

function sameRun({ variant }: PlannedRun, index: number, { run, index: other }: PlacedRun): EspalierError {
  const place = other === null ? 'which the study has already' : `runs[${other}]`;
  const same = `${JSON.stringify(variant)} asks for the same run as ${JSON.stringify(run.variant)}, ${place}`;
  return invalidField('REQUEST_INVALID', `runs[${index}]`, `${same}: model, text and all settings are equal, so leave one of them out`);
}

/** The heats that are still to be decided: those of all rungs but the last. A cancelled study has none. */
export function openHeats({ halving, runs, decisions, cancelled }: StudyState): Heat[] {
  if (halving === null || cancelled !== null) return [];
  const isDecided = (heat: Heat): boolean => decisions.some(({ race, rung }) => race === heat.race && rung === heat.rung);
  return heatsOf(runs).filter((heat) => heat.rung < halving.rungs.length - 1 && !isDecided(heat));
}

/** The runs that are still to be launched, in order. */
export const waitingRuns = ({ runs, cancelled }: Pick<StudyState, 'runs' | 'cancelled'>): StudyRun[] =>
  cancelled === null ? runs.filter(({ runId, refusal }) => runId === null && refusal === null) : [];
