// Converts requests of espalier.engine.v1 to the native engine's options. Its results are messages already.
import { isAbsolute } from 'node:path';
import type { Slice } from '#files';
import { engineV1, enumWords, givenEngineSettings, invalidField } from '#protocol';

import type { ComputeDtype, EvaluateOptions, ExportKind, SessionOptions } from '#native-engine';
import { exactNumber } from './engine-errors.js';
import type { EngineServiceParts } from '../service-parts.js';
import type { LocatedSegment, SparsityMark, TrainingOptions } from '../training/training.js';

/** Returns the word of an enum's value, as in "fisher" of IMPORTANCE_FISHER. Only the words given are allowed. */
function wordOf<Word extends string>(name: string | undefined, prefix: string, words: readonly Word[], field: string): Word {
  const word = words.find((one) => name === prefix + one.toUpperCase());
  if (word === undefined) throw invalidField('FIELD_UNKNOWN_VALUE', field, `must be one of ${words.join(', ').toUpperCase()}`);
  return word;
}

export function computeDtypeOf(value: engineV1.ComputeDtype, unspecified: ComputeDtype): ComputeDtype {
  if (value === engineV1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED) return unspecified;
  const words = enumWords(engineV1.ComputeDtype, 'COMPUTE_DTYPE_');
  return wordOf(engineV1.ComputeDtype[value], 'COMPUTE_DTYPE_', words, 'compute_dtype');
}

function oneShotOf({ importance, ...rest }: engineV1.OneShot): NonNullable<TrainingOptions['steps']['oneShot']> {
  const words = enumWords(engineV1.Importance, 'IMPORTANCE_');
  return { importance: wordOf(engineV1.Importance[importance], 'IMPORTANCE_', words, 'one_shot.importance'), ...rest };
}

export function unstructuredOf(pruning: engineV1.Unstructured): NonNullable<EvaluateOptions['unstructured']> {
  const words = ['magnitude', 'wanda'] as const;
  return { ...pruning, importance: wordOf(engineV1.Importance[pruning.importance], 'IMPORTANCE_', words, 'unstructured.importance') };
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
      losses: request.losses,
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

function exportDtype(dtype: string): ExportKind['dtype'] {
  if (dtype === '') return 'source';
  if (dtype === 'f32' || dtype === 'bf16' || dtype === 'f16' || dtype === 'q8_0') return dtype;
  throw invalidField('FIELD_UNKNOWN_VALUE', 'dtype', `is "${dtype}"; allowed are bf16, f16, f32, q8_0, or nothing for that of the source`);
}

function containerOf(container: engineV1.ExportContainer): ExportKind['container'] {
  if (container === engineV1.ExportContainer.EXPORT_CONTAINER_UNSPECIFIED) return 'safetensors';
  const words = enumWords(engineV1.ExportContainer, 'EXPORT_CONTAINER_');
  return wordOf(engineV1.ExportContainer[container], 'EXPORT_CONTAINER_', words, 'container');
}

export function exportKind(request: Pick<engineV1.ExportModelRequest, 'container' | 'form' | 'dtype' | 'multipleOf'>): ExportKind {
  return {
    container: containerOf(request.container),
    form: wordOf(engineV1.ExportForm[request.form], 'EXPORT_FORM_', enumWords(engineV1.ExportForm, 'EXPORT_FORM_'), 'form'),
    dtype: exportDtype(request.dtype),
    multipleOf: request.multipleOf === 0 ? 1 : request.multipleOf,
  };
}

export function outcomeMessage(
  { result, stateSize, stateFile }: LocatedSegment,
  slices: readonly Slice[],
  partSums: Buffer[],
): engineV1.SegmentOutcome {
  const sized = slices.map(({ digest, bytes }) => ({ digest, bytes: BigInt(bytes) }));
  return { ...result, stateBytes: BigInt(stateSize), stateFile, partSums, slices: sized };
}
