// The public messages of RunService turned into what commands take; everything that is wrong with the form is named here.
import { randomUUID } from 'node:crypto';
import { invalidField, invalidRequest, v1, type FieldViolation } from '#protocol';
import type { DataSource } from './pruning-run/model-and-data.js';
import type { ForkRun, LaunchRun } from './pruning-run/pruning-run.commands.js';
import type { Recipe, RunSettings, ScheduleShape } from './pruning-run/pruning-run.events.js';
import type { StartingPoint } from './pruning-run/run-change.js';
import type { RequestedSettings } from './pruning-run/run-settings.js';

const REQUEST_ID_MAX = 128;
const NAME_MAX = 200;
const MODEL_FOLDER = 'the folder of a Hugging Face model';

export function launchRequest(request: v1.LaunchRunRequest): LaunchRun['request'] {
  const violations = namesViolations(request);
  if (request.modelPath === '') violations.push(missing('model_path', MODEL_FOLDER));
  if (!request.data?.trainPath) violations.push(missing('data.train_path', 'a file or folder of training text'));
  const settings = collect(violations, () => requestedSettings(request.settings)) ?? {};
  if (violations.length > 0) throw invalidRequest(violations);
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    modelPath: request.modelPath,
    data: dataSource(request.data!),
    settings,
  };
}

export function planRequest({ modelPath, settings: message }: v1.PlanRunRequest): { modelPath: string; settings: RequestedSettings } {
  const violations = modelPath === '' ? [missing('model_path', MODEL_FOLDER)] : [];
  const settings = collect(violations, () => requestedSettings(message)) ?? {};
  if (violations.length > 0) throw invalidRequest(violations);
  return { modelPath, settings };
}

export function forkRequest(request: v1.ForkRunRequest): Omit<ForkRun['request'], 'parentRunId'> {
  const violations = namesViolations(request);
  const from = collect(violations, () => startingPoint(request.from));
  for (const field of fieldsSet(request.settings)) {
    const description = 'cannot be changed by a fork: it would give the state another meaning; launch a run instead, or see overrides';
    violations.push({ field: `settings.${field}`, description, code: 'FORK_FIELD_FIXED' });
  }
  const { data, ...rest } = request.overrides ?? v1.ForkOverrides.fromPartial({});
  const changed = collect(violations, () => requestedSettings({ ...v1.RunSettings.fromPartial({}), ...rest }, 'overrides'));
  if (data !== undefined && data.trainPath === '')
    violations.push(missing('overrides.data.train_path', 'a file or folder of training text'));
  if (violations.length > 0) throw invalidRequest(violations);
  const overrides = Object.fromEntries(Object.entries(changed ?? {}).filter(([, value]) => value !== undefined)) as Partial<RunSettings>;
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    from: from!,
    overrides,
    data: data === undefined ? null : dataSource(data),
  };
}

type From = v1.ResumeRunRequest['from'] | v1.ForkRunRequest['from'];

export function startingPoint(from: From): StartingPoint {
  switch (from?.$case) {
    case undefined:
    case 'lastState':
      return { kind: 'last' };
    case 'teacherMark':
      if (from.value === 0) throw invalidField('FIELD_OUT_OF_RANGE', 'teacher_mark', 'marks count from 1');
      return { kind: 'mark', mark: from.value };
    case 'stateDigest':
      if (!/^[0-9a-f]{64}$/.test(from.value))
        throw invalidField('FIELD_OUT_OF_RANGE', 'state_digest', 'must be a SHA-256 in lower-case hex');
      return { kind: 'digest', stateDigest: from.value };
  }
}

/** What a request leaves out stays undefined. */
function requestedSettings(message: v1.RunSettings | undefined, path = 'settings'): RequestedSettings {
  if (message === undefined) return {};
  const { preset, recipe, schedule, seed, loraTargets, computeDtype, denseSteps, checkpointActivations, ...numbers } = message;
  return {
    ...numbers,
    ...(preset === '' ? {} : { preset }),
    recipe: named(recipes, recipe, `${path}.recipe`),
    schedule: named(schedules, schedule, `${path}.schedule`),
    computeDtype: named(dtypes, computeDtype, `${path}.compute_dtype`),
    seed: seed?.toString(),
    ...(loraTargets.length === 0 ? {} : { loraTargets }),
    ...(denseSteps ? { denseSteps } : {}),
    ...(checkpointActivations ? { checkpointActivations } : {}),
  };
}

const recipes: Record<number, Recipe | undefined> = {
  [v1.Recipe.RECIPE_UNSPECIFIED]: undefined,
  [v1.Recipe.RECIPE_NUTEPRUNE]: 'nuteprune',
  [v1.Recipe.RECIPE_DISTILL]: 'distill',
  [v1.Recipe.RECIPE_LM]: 'lm',
};
const schedules: Record<number, ScheduleShape | undefined> = {
  [v1.ScheduleShape.SCHEDULE_SHAPE_UNSPECIFIED]: undefined,
  [v1.ScheduleShape.SCHEDULE_SHAPE_LINEAR]: 'linear',
  [v1.ScheduleShape.SCHEDULE_SHAPE_CUBIC]: 'cubic',
};
const dtypes: Record<number, RunSettings['computeDtype'] | undefined> = {
  [v1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED]: undefined,
  [v1.ComputeDtype.COMPUTE_DTYPE_F32]: 'f32',
  [v1.ComputeDtype.COMPUTE_DTYPE_BF16]: 'bf16',
};

function named<T>(names: Record<number, T | undefined>, value: number, field: string): T | undefined {
  if (!Object.hasOwn(names, value)) throw invalidField('FIELD_UNKNOWN_VALUE', field, `${value} is not one of its values`);
  return names[value];
}

function dataSource({ trainPath, validationPath }: v1.DataSource): DataSource {
  return { trainPath, validationPath };
}

function namesViolations({ requestId, name }: { requestId: string; name: string }): FieldViolation[] {
  const tooLong = (field: string, text: string, max: number): FieldViolation[] =>
    text.length <= max
      ? []
      : [{ field, description: `must have at most ${max} characters, has ${text.length}`, code: 'FIELD_OUT_OF_RANGE' }];
  return [...tooLong('request_id', requestId, REQUEST_ID_MAX), ...tooLong('name', name, NAME_MAX)];
}

function missing(field: string, what: string): FieldViolation {
  return { field, description: `is needed: ${what}`, code: 'FIELD_REQUIRED' };
}

/** Fields of the message that differ from an empty one, by their names in the protocol. */
function fieldsSet(message: v1.RunSettings | undefined): string[] {
  return message === undefined
    ? []
    : Object.keys(v1.RunSettings.toJSON(message) as object).map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

/** Adds the violations of an invalid part to the others. */
function collect<T>(violations: FieldViolation[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const found = (error as { violations?: FieldViolation[] }).violations;
    if (found === undefined || found.length === 0) throw error;
    violations.push(...found);
    return undefined;
  }
}
