// The public messages of RunService turned into what commands take; what is wrong with their form is named here, but for what
// holds for every request (request-checks.ts of the protocol).
import { randomUUID } from 'node:crypto';
import { invalidField, invalidRequest, v1, type FieldViolation } from '#protocol';
import type { DataSource } from '../run-commands/model-and-data.js';
import type { ForkRun, LaunchRun } from '../run-commands/pruning-run.commands.js';
import type { Recipe, RunSettings, ScheduleShape, SparsityControl } from '../pruning-run/record/pruning-run.events.js';
import type { StartingPoint } from '../pruning-run/aggregate/run-change.js';
import { requireDigestPrefix } from '../pruning-run/aggregate/short-digests.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';

export function launchRequest(request: v1.LaunchRunRequest): LaunchRun['request'] {
  return {
    requestId: request.requestId || randomUUID(),
    name: request.name,
    modelPath: request.modelPath,
    data: dataSource(request.data!),
    settings: requestedSettings(request.settings),
  };
}

export function planRequest({ modelPath, settings: message }: v1.PlanRunRequest): { modelPath: string; settings: RequestedSettings } {
  return { modelPath, settings: requestedSettings(message) };
}

export function forkRequest(request: v1.ForkRunRequest): Omit<ForkRun['request'], 'parentRunId'> {
  const violations: FieldViolation[] = [];
  const from = collect(violations, () => startingPoint(request.from));
  for (const field of fieldsSet(request.settings)) {
    const description = 'cannot be changed by a fork: it would give the state another meaning; launch a run instead, or see overrides';
    violations.push({ field: `settings.${field}`, description, code: 'FORK_FIELD_FIXED' });
  }
  const { data, ...rest } = request.overrides ?? v1.ForkOverrides.fromPartial({});
  const changed = requestedSettings({ ...v1.RunSettings.fromPartial({}), ...rest });
  if (violations.length > 0) throw invalidRequest(violations);
  const overrides = Object.fromEntries(Object.entries(changed).filter(([, value]) => value !== undefined)) as Partial<RunSettings>;
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
      return { kind: 'digest', stateDigest: requireDigestPrefix(from.value, 'state_digest') };
  }
}

/** What a request leaves out stays undefined. */
function requestedSettings(message: v1.RunSettings | undefined): RequestedSettings {
  if (message === undefined) return {};
  const { preset, recipe, schedule, sparsityControl, seed, loraTargets, computeDtype, denseSteps, checkpointActivations, ...numbers } =
    message;
  return {
    ...numbers,
    ...(preset === '' ? {} : { preset }),
    recipe: recipes[recipe],
    schedule: schedules[schedule],
    sparsityControl: controls[sparsityControl],
    computeDtype: dtypes[computeDtype],
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
const controls: Record<number, SparsityControl | undefined> = {
  [v1.SparsityControl.SPARSITY_CONTROL_UNSPECIFIED]: undefined,
  [v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS]: 'multipliers',
  [v1.SparsityControl.SPARSITY_CONTROL_TRACKING]: 'tracking',
};
const dtypes: Record<number, RunSettings['computeDtype'] | undefined> = {
  [v1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED]: undefined,
  [v1.ComputeDtype.COMPUTE_DTYPE_F32]: 'f32',
  [v1.ComputeDtype.COMPUTE_DTYPE_BF16]: 'bf16',
};

function dataSource({ trainPath, validationPath }: v1.DataSource): DataSource {
  return { trainPath, validationPath };
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
