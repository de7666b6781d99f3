// Converts messages of espalier.engine.v1 to the native engine's options, and its results to messages.
import { isAbsolute } from 'node:path';
import type { Slice } from '#files';
import { engineV1, givenEngineSettings, invalidField } from '#protocol';

import type {
  ComputeDtype,
  DeviceDescription,
  EvaluateOptions,
  ExportedModel,
  ExportKind,
  Importance,
  LayerWidth,
  ModelDescription,
  SessionOptions,
  StateSummary,
} from '#native-engine';
import { exactNumber } from './engine-errors.js';
import type { EngineServiceParts } from '../service-parts.js';
import type { ProcessMemoryPlan } from '../session-holder.js';
import type { LocatedSegment, SparsityMark, TrainingOptions } from '../training/training.js';

const widthsOf = (layers: readonly LayerWidth[]): engineV1.LayerWidth[] =>
  layers.map((layer) => ({ heads: BigInt(layer.heads), kvHeads: BigInt(layer.kvHeads), intermediate: BigInt(layer.intermediate) }));

export function computeDtypeOf(value: engineV1.ComputeDtype, unspecified: ComputeDtype): ComputeDtype {
  switch (value) {
    case engineV1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED:
      return unspecified;
    case engineV1.ComputeDtype.COMPUTE_DTYPE_F32:
      return 'f32';
    case engineV1.ComputeDtype.COMPUTE_DTYPE_BF16:
      return 'bf16';
    case engineV1.ComputeDtype.UNRECOGNIZED:
      throw invalidField('FIELD_UNKNOWN_VALUE', 'compute_dtype', 'must be F32 or BF16');
  }
}

function importanceOf(value: engineV1.Importance, field: string): Importance {
  switch (value) {
    case engineV1.Importance.IMPORTANCE_MAGNITUDE:
      return 'magnitude';
    case engineV1.Importance.IMPORTANCE_WANDA:
      return 'wanda';
    case engineV1.Importance.IMPORTANCE_TAYLOR:
      return 'taylor';
    case engineV1.Importance.IMPORTANCE_FISHER:
      return 'fisher';
    case engineV1.Importance.IMPORTANCE_UNSPECIFIED:
    case engineV1.Importance.UNRECOGNIZED:
      throw invalidField('FIELD_UNKNOWN_VALUE', field, 'must be MAGNITUDE, WANDA, TAYLOR or FISHER');
  }
}

function oneShotOf({ importance, calibrationSequences }: engineV1.OneShot): NonNullable<TrainingOptions['steps']['oneShot']> {
  return { importance: importanceOf(importance, 'one_shot.importance'), calibrationSequences };
}

export function unstructuredOf(pruning: engineV1.Unstructured): NonNullable<EvaluateOptions['unstructured']> {
  const { sparsity, calibrationSequences, seed } = pruning;
  const importance = importanceOf(pruning.importance, 'unstructured.importance');
  if (importance === 'taylor' || importance === 'fisher')
    throw invalidField('FIELD_UNKNOWN_VALUE', 'unstructured.importance', 'must be MAGNITUDE or WANDA for single weights');
  return { importance, sparsity, calibrationSequences, seed };
}

export function closingsOf({ layer, heads, units, hidden }: engineV1.Closings): NonNullable<EvaluateOptions['closings']> {
  if (!heads && !units && !hidden) throw invalidField('FIELD_REQUIRED', 'closings', 'must name heads, units or hidden');
  if (layer !== undefined && hidden)
    throw invalidField('REQUEST_INVALID', 'closings.hidden', 'all layers share the hidden units: name no layer');
  return { layer, heads, units, hidden };
}

export function deviceMessage(device: DeviceDescription): engineV1.Device {
  return { ...device, memoryBytes: BigInt(device.memoryBytes), memoryAvailableBytes: BigInt(device.memoryAvailableBytes) };
}

export function sessionOptions(
  options: engineV1.SessionOptions | undefined,
  engine: Pick<EngineServiceParts, 'device' | 'threads' | 'models' | 'sliceBytes'>,
): SessionOptions {
  if (options === undefined) throw invalidField('FIELD_REQUIRED', 'options', 'is missing');
  if (options.modelPath === '') throw invalidField('FIELD_REQUIRED', 'options.model_path', 'is empty: a model folder is required');
  return {
    modelFolder: engine.models.folderOf(options.modelPath),
    weightsDigest: options.weightsDigest || undefined,
    settings: givenEngineSettings('session', options.settings, 'options.settings'),
    plannedSparsity: options.plannedSparsity,
    teachers: options.teachers,
    device: engine.device,
    sliceBytes: engine.sliceBytes,
    threads: options.threads || engine.threads,
    memoryLimitBytes: exactNumber(options.memoryLimitBytes, 'options.memory_limit_bytes'),
  };
}

export function trainingOptions(request: engineV1.TrainRequest): TrainingOptions {
  if (request.losses === undefined) throw invalidField('FIELD_REQUIRED', 'losses', 'is missing');
  const { layerWeight, klWeight, lmWeight, temperature } = request.losses;
  if (request.stateFile !== '' && !isAbsolute(request.stateFile))
    throw invalidField('FIELD_OUT_OF_RANGE', 'state_file', `is "${request.stateFile}": it must be an absolute path`);
  const { loraLearningRate, scheduledSparsity } = request;
  if (scheduledSparsity.length !== loraLearningRate.length) {
    throw invalidField(
      'INVALID_ARGUMENT',
      'scheduled_sparsity',
      `has ${scheduledSparsity.length} values, lora_learning_rate has ${loraLearningRate.length}: one a step is allowed`,
    );
  }
  return {
    steps: {
      firstStep: exactNumber(request.firstStep, 'first_step'),
      settings: givenEngineSettings('training', request.settings, 'settings'),
      losses: { layer: layerWeight, kl: klWeight, lm: lmWeight, temperature },
      trainMasks: !request.freezeMasks,
      oneShot: request.oneShot === undefined ? undefined : oneShotOf(request.oneShot),
      momentsFromStep: exactNumber(request.momentsFromStep, 'moments_from_step'),
      returnState: request.returnStates,
      teacherFiles: request.teacherFiles.map(teacherFile),
      loraLearningRate,
      scheduledSparsity,
    },
    segmentSteps: request.segmentSteps || Infinity,
    segmentSeconds: request.segmentSeconds || undefined,
    maxSegments: request.maxSegments || Infinity,
    marks: request.marks.map(mark),
    stateFile: request.stateFile,
    teachers: request.teachers.map(({ firstStep, digest }, index) => ({
      firstStep: exactNumber(firstStep, `teachers[${index}].first_step`),
      digest: teacherDigest(digest, `teachers[${index}].digest`),
    })),
  };
}

function mark(
  { expectedSparsity, teacherDigest: digest, teacherMark }: engineV1.Mark,
  index: number,
  marks: engineV1.Mark[],
): SparsityMark {
  const before = marks[index - 1];
  if (before !== undefined && expectedSparsity <= before.expectedSparsity) {
    throw invalidField(
      'FIELD_OUT_OF_RANGE',
      `marks[${index}].expected_sparsity`,
      `is ${expectedSparsity}: it must be above that of the mark before, ${before.expectedSparsity}`,
    );
  }
  if (teacherMark !== undefined) {
    const field = `marks[${index}].teacher_mark`;
    if (digest !== undefined) throw invalidField('REQUEST_INVALID', field, 'and teacher_digest are both set: one teacher is allowed');
    if (teacherMark > index)
      throw invalidField('FIELD_OUT_OF_RANGE', field, `is ${teacherMark}: it must be at most ${index}, the number of its own mark`);
    return { expectedSparsity, teacher: { mark: teacherMark } };
  }
  return {
    expectedSparsity,
    teacher: digest === undefined ? undefined : { digest: teacherDigest(digest, `marks[${index}].teacher_digest`) },
  };
}

function teacherFile({ digest, file }: engineV1.TeacherFile, index: number): { digest: string; file: string } {
  if (teacherDigest(digest, `teacher_files[${index}].digest`) === undefined)
    throw invalidField('FIELD_REQUIRED', `teacher_files[${index}].digest`, 'is empty: it is the name of the teacher');
  if (!isAbsolute(file))
    throw invalidField('FIELD_OUT_OF_RANGE', `teacher_files[${index}].file`, `is "${file}": it must be an absolute path`);
  return { digest, file };
}

/** Returns the teacher's digest; undefined: the intact model. */
function teacherDigest(digest: string, field: string): string | undefined {
  if (digest !== '' && !/^[0-9a-f]{64}$/.test(digest))
    throw invalidField('FIELD_OUT_OF_RANGE', field, 'must be 64 hexadecimal digits, or empty for the intact model');
  return digest || undefined;
}

function exportForm(form: engineV1.ExportForm): ExportKind['form'] {
  switch (form) {
    case engineV1.ExportForm.EXPORT_FORM_MASKED:
      return 'masked';
    case engineV1.ExportForm.EXPORT_FORM_COMPACTED:
      return 'compacted';
    case engineV1.ExportForm.EXPORT_FORM_PADDED:
      return 'padded';
    case engineV1.ExportForm.EXPORT_FORM_BLOCKS:
      return 'blocks';
    case engineV1.ExportForm.EXPORT_FORM_UNSPECIFIED:
    case engineV1.ExportForm.UNRECOGNIZED:
      throw invalidField('FIELD_UNKNOWN_VALUE', 'form', 'must be MASKED, PADDED, BLOCKS or COMPACTED');
  }
}

function exportContainer(container: engineV1.ExportContainer): ExportKind['container'] {
  return container === engineV1.ExportContainer.EXPORT_CONTAINER_GGUF ? 'gguf' : 'safetensors';
}

function exportDtype(dtype: string): ExportKind['dtype'] {
  if (dtype === '') return 'source';
  if (dtype === 'f32' || dtype === 'bf16' || dtype === 'f16' || dtype === 'q8_0') return dtype;
  throw invalidField('FIELD_UNKNOWN_VALUE', 'dtype', `is "${dtype}"; allowed are bf16, f16, f32, q8_0, or nothing for that of the source`);
}

export function exportKind(request: Pick<engineV1.ExportModelRequest, 'container' | 'form' | 'dtype' | 'multipleOf'>): ExportKind {
  return {
    container: exportContainer(request.container),
    form: exportForm(request.form),
    dtype: exportDtype(request.dtype),
    multipleOf: request.multipleOf === 0 ? 1 : request.multipleOf,
  };
}

export function modelMessage(model: ModelDescription): engineV1.ModelDescription {
  return {
    architecture: model.architecture,
    hiddenSize: BigInt(model.hiddenSize),
    layerCount: BigInt(model.layerCount),
    headCount: BigInt(model.headCount),
    kvHeadCount: BigInt(model.kvHeadCount),
    headDim: BigInt(model.headDim),
    intermediateSize: BigInt(model.intermediateSize),
    vocabSize: BigInt(model.vocabSize),
    maxPositions: BigInt(model.maxPositions),
    parameterCount: BigInt(model.parameterCount),
    prunableParameterCount: BigInt(model.prunableParameterCount),
    weightBytes: BigInt(model.weightBytes),
    weightsDigest: model.weightsDigest,
    tiedEmbeddings: model.tiedEmbeddings,
    dtype: model.dtype,
    layers: widthsOf(model.layers),
    bosTokenId: BigInt(model.bosTokenId),
    tensors: model.tensors.map((count) => ({ ...count, parameters: BigInt(count.parameters), bytes: BigInt(count.bytes) })),
  };
}

export function memoryMessage(plan: ProcessMemoryPlan, numericsFingerprint: string): engineV1.PlanMemoryResponse {
  return {
    weightsBytes: BigInt(plan.weightsBytes),
    loraBytes: BigInt(plan.loraBytes),
    stateBytes: BigInt(plan.stateBytes),
    ownStateBytes: BigInt(plan.ownStateBytes),
    optimizerBytes: BigInt(plan.optimizerBytes),
    activationsBytes: BigInt(plan.activationsBytes),
    teachersBytes: BigInt(plan.teachersBytes),
    scratchBytes: BigInt(plan.scratchBytes),
    totalBytes: BigInt(plan.totalBytes),
    availableBytes: BigInt(plan.availableBytes),
    processBytes: BigInt(plan.processBytes),
    hostBytes: BigInt(plan.hostBytes),
    hostAvailableBytes: BigInt(plan.hostAvailableBytes),
    devices: plan.devices,
    devicesThere: plan.devicesThere,
    change: plan.change === null ? undefined : { ...plan.change, totalBytes: BigInt(plan.change.totalBytes) },
    numericsFingerprint,
  };
}

export function stateMessage(state: StateSummary): engineV1.StateSummary {
  return {
    step: BigInt(state.step),
    digest: state.digest,
    expectedSparsity: state.expectedSparsity,
    hardSparsity: state.hardSparsity,
    open: widthsOf(state.open.map((layer) => ({ ...layer, kvHeads: 0 }))),
    hiddenOpen: BigInt(state.hiddenOpen),
    masksDigest: state.masksDigest,
    size: sizeMessage(state.size),
  };
}

export function sizeMessage({ parameterCount, multiplications, bytes }: StateSummary['size']): engineV1.ExportSize {
  return { parameterCount: BigInt(parameterCount), multiplications: BigInt(multiplications), bytes: BigInt(bytes) };
}

export function outcomeMessage(
  { result, stateSize, stateFile }: LocatedSegment,
  slices: readonly Slice[],
  partSums: Buffer[],
): engineV1.SegmentOutcome {
  return {
    state: stateMessage(result.state),
    stepsDone: BigInt(result.stepsDone),
    seconds: result.seconds,
    stateBytes: BigInt(stateSize),
    stateFile,
    openUnits: Buffer.from(result.state.openUnits),
    openUnitsBefore: Buffer.from(result.openUnitsBefore),
    refit: result.refit ?? undefined,
    partSums,
    slices: slices.map(({ digest, bytes }) => ({ digest, bytes: BigInt(bytes) })),
  };
}

export function exportedMessage(exported: ExportedModel & { source: ModelDescription }): engineV1.ExportedModel {
  return {
    parameterCount: BigInt(exported.parameterCount),
    totalBytes: BigInt(exported.totalBytes),
    tensorBytes: BigInt(exported.tensorBytes),
    layers: widthsOf(exported.layers),
    hiddenSize: BigInt(exported.hiddenSize),
    architecture: exported.architecture,
    contextLength: BigInt(exported.contextLength),
    notes: exported.notes,
    source: modelMessage(exported.source),
  };
}
