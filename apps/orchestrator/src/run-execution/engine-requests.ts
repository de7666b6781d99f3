// What the engine is asked for, made of what is recorded: one place, so that a replay asks for exactly what the run did.
import { engineV1 } from '#protocol';
import type { ModelIdentity, RunSettings } from '../pruning-run/pruning-run.events.js';
import type { SegmentPlan } from '../pruning-run/segment-plan.js';

const computeDtypes = { f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32, bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16 };

export function sessionOptions({ settings, model }: { settings: RunSettings; model: ModelIdentity }, threads: number): engineV1.SessionOptions {
  return {
    modelPath: model.path, weightsDigest: model.weightsDigest, computeDtype: computeDtypes[settings.computeDtype],
    batchSize: settings.batchSize, sequenceLength: settings.sequenceLength, threads, dense: settings.denseSteps,
    checkpointActivations: settings.checkpointActivations,
    lora: { rank: settings.loraRank, alpha: settings.loraAlpha, targets: settings.loraTargets },
    memoryLimitBytes: 0n,
  };
}

type SegmentSteps = Pick<SegmentPlan, 'firstStep' | 'losses' | 'loraLearningRates' | 'scheduledSparsities' | 'stretches'>;

/**
 * @param stopAtExpectedSparsity null: all steps, whatever sparsity they reach
 * @param state where the state's bytes go: back with the answer, into a file, or nowhere
 */
export function segmentRequest(
  sessionId: string, settings: RunSettings, segment: SegmentSteps, stopAtExpectedSparsity: number | null, state: 'return' | 'leave' | { file: string },
): engineV1.TrainSegmentRequest {
  return {
    sessionId, firstStep: BigInt(segment.firstStep), seed: BigInt(settings.seed), losses: segment.losses,
    maskLearningRate: settings.maskLearningRate, lambdaLearningRate: settings.lambdaLearningRate,
    gradientClipNorm: settings.gradientClipNorm, freezeMasks: false,
    loraLearningRate: segment.loraLearningRates, scheduledSparsity: segment.scheduledSparsities,
    stopAtExpectedSparsity: stopAtExpectedSparsity ?? undefined,
    teachers: segment.stretches.map(({ firstStep, teacher }) => ({
      firstStep: BigInt(firstStep), digest: teacher.kind === 'snapshot' ? teacher.stateDigest : '',
    })),
    returnState: state !== 'leave', stateFile: typeof state === 'string' ? '' : state.file,
  };
}
