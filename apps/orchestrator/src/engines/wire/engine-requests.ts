// Makes the requests to the engine, in one place and from the record alone. So a replay asks for exactly the same as the run did.
import { engineSettingsMessage, engineV1, enumValue } from '#protocol';
import type { Budget, ModelIdentity, RunSettings, TeacherChoice } from '../../pruning-run/record/pruning-run.events.js';
import { phaseAt, prunesAtOnce, type OneShotRecipe } from '../../pruning-run/method/phases.js';
import { snapshotsInstruct, snapshotsTaken } from '../../pruning-run/method/teacher-policy.js';
import { keptByLayer } from '../../pruning-run/method/layer-widths.js';
import { FREE, shapeOf } from '../../pruning-run/method/shape-target.js';
import type { SegmentPlan } from '../../pruning-run/planning/segment-plan.js';
import type { TrainingPlan } from '../../pruning-run/planning/training-plan.js';

/** An engine opens a session in less than this time, and the time in which its disk reads the weights. */
const OPENING_MS = 120_000;
const SLOW_DISK_BYTES_PER_MS = 20_000;

/** The time in which an engine that has a model's files opens a session of it. */
export const openingMs = ({ weightBytes }: Pick<ModelIdentity, 'weightBytes'>): number => OPENING_MS + weightBytes / SLOW_DISK_BYTES_PER_MS;

export function sessionOptions(
  { settings, model }: { settings: RunSettings; model: Pick<ModelIdentity, 'path' | 'weightsDigest'> },
  threads: number,
): engineV1.SessionOptions {
  return {
    modelPath: model.path,
    weightsDigest: model.weightsDigest,
    threads,
    memoryLimitBytes: 0n,
    settings: engineSettingsMessage('session', settings),
    plannedSparsity: settings.recoverWeights !== 'lora' ? settings.targetSparsity : 0,
    teachers: snapshotsInstruct(settings) ? snapshotsTaken(settings).likely : 0,
  };
}

/** Returns a key that is equal for runs that one session can serve: those with the same model and the same settings of the session. */
export function sessionKey(options: engineV1.SessionOptions): string {
  return JSON.stringify(engineV1.SessionOptions.toJSON(options));
}

/** The request for the state that a run begins with. */
export function initialStateRequest(
  sessionId: string,
  { settings, model, budget }: { settings: RunSettings; model: Pick<ModelIdentity, 'hiddenSize'>; budget?: Budget | undefined },
): engineV1.InitialiseStateRequest {
  const shape = shapeOf(settings, model) ?? (budget && FREE);
  return { sessionId, seed: BigInt(settings.seed), shape: shape && { ...shape, cost: budget?.cost ?? [] }, closed: 0 };
}

const importanceOf = (recipe: OneShotRecipe): engineV1.Importance => enumValue(engineV1.Importance, 'IMPORTANCE_', recipe);

function oneShotOf(settings: RunSettings): engineV1.OneShot | undefined {
  const { recipe, calibrationSequences } = settings;
  if (recipe === 'scan') return { importance: importanceOf('fisher'), calibrationSequences, layers: [] };
  if (!prunesAtOnce(recipe)) return undefined;
  return { importance: importanceOf(recipe), calibrationSequences, layers: keptByLayer(settings) ?? [] };
}

/** Names single weights of the intact model to set to 0, chosen by the run's own text and seed. */
export function unstructuredRequest(
  { calibrationSequences, seed }: RunSettings,
  { importance, sparsity }: { importance: 'magnitude' | 'wanda'; sparsity: number },
): engineV1.Unstructured {
  return { importance: importanceOf(importance), sparsity, calibrationSequences, seed: BigInt(seed) };
}

type Steps = Pick<SegmentPlan, 'firstStep' | 'losses' | 'loraLearningRates' | 'scheduledSparsities' | 'stretches'>;

/** The interval of reports while a client watches, short enough for the eye. */
export const REPORT_INTERVAL_MS = 700;
/** The interval of reports while no client watches. Each report wakes two processes, and their work takes time from the steps. */
export const UNWATCHED_REPORT_INTERVAL_MS = 2_000;

/**
 * @param steps the steps, in segments as planned. Without a plan of segments they are one segment, whatever sparsity they reach.
 * @param states where the states' bytes go: back with the answer, into files whose names begin with `file`, or nowhere
 * @param reportIntervalMs has no effect for a client that waits for the end
 */
export function trainRequest(
  sessionId: string,
  settings: RunSettings,
  steps: Steps & Partial<Pick<TrainingPlan, 'segmentSteps' | 'segmentSeconds' | 'maxSegments' | 'marks' | 'teacherFiles'>>,
  states: 'return' | 'leave' | { file: string },
  reportIntervalMs = UNWATCHED_REPORT_INTERVAL_MS,
): engineV1.TrainRequest {
  const phase = phaseAt(settings, steps.firstStep); // no segment reaches beyond its phase
  return {
    sessionId,
    firstStep: BigInt(steps.firstStep),
    settings: engineSettingsMessage('training', settings),
    losses: steps.losses,
    freezeMasks: phase.kind === 'recover',
    momentsFromStep: BigInt(phase.firstStep),
    oneShot: phase.kind === 'prune' ? oneShotOf(settings) : undefined,
    loraLearningRate: steps.loraLearningRates,
    scheduledSparsity: steps.scheduledSparsities,
    segmentSteps: steps.segmentSteps ?? 0,
    segmentSeconds: steps.segmentSeconds ?? 0,
    maxSegments: steps.maxSegments ?? 0,
    marks: (steps.marks ?? []).map(({ expectedSparsity, teacher }) => ({
      expectedSparsity,
      teacherDigest: teacher === null || teacher.kind === 'mark' ? undefined : digestOf(teacher),
      teacherMark: teacher?.kind === 'mark' ? teacher.index : undefined,
    })),
    teachers: steps.stretches.map(({ firstStep, teacher }) => ({ firstStep: BigInt(firstStep), digest: digestOf(teacher) })),
    teacherFiles: steps.teacherFiles ?? [],
    returnStates: states !== 'leave',
    stateFile: typeof states === 'string' ? '' : states.file,
    reportIntervalMs,
    trainingId: '',
    messagesTaken: 0n,
    holdInPartsOf: 0,
  };
}

/** Returns '' for the intact model and for no teacher. */
function digestOf(teacher: TeacherChoice): string {
  return teacher.kind === 'snapshot' ? teacher.stateDigest : '';
}
