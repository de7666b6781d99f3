// Values of options: the form is checked here, the range by the server, which knows the model.
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { v1 } from '#protocol';

const UINT32_MAX = 4_294_967_295;

export function wholeNumber(text: string): number {
  const value = Number(text.replaceAll('_', ''));
  if (!/^[\d_]+$/.test(text) || value > UINT32_MAX) throw new InvalidArgumentError(`A whole number from 0 to ${UINT32_MAX} is allowed.`);
  return value;
}

export function bigNumber(text: string): bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 1n << 64n) throw new InvalidArgumentError('A whole number from 0 to 2^64 - 1 is allowed.');
  return BigInt(text);
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('A number is allowed, e.g. 0.5 or 1e-3.');
  return value;
}

/** A share as 0.5 or 50%. */
export function ratio(text: string): number {
  const match = /^(.+)%$/.exec(text);
  if (match === null) return number(text);
  return number(match[1]!) / 100;
}

export function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** A list that leaves nothing out by being empty. */
export function names(text: string): string[] {
  const given = list(text);
  if (given.length === 0) throw new InvalidArgumentError('At least one name is needed.');
  return given;
}

/** Relative paths are of this working folder; the server has another one. */
export function absolutePath(path: string): string {
  if (path === '') throw new InvalidArgumentError('A path is needed.');
  return resolve(path);
}

export function stepRange(text: string): { from?: bigint; to?: bigint } {
  const match = /^(\d*)(\.\.|-|:)(\d*)$/.exec(text);
  if (match === null || (match[1] === '' && match[3] === ''))
    throw new InvalidArgumentError('FROM..TO is allowed, e.g. 100..200, 100.. or ..200.');
  const range = {
    ...(match[1] === '' ? {} : { from: BigInt(match[1]!) }),
    ...(match[3] === '' ? {} : { to: BigInt(match[3]!) }),
  };
  if (range.from !== undefined && range.to !== undefined && range.from > range.to)
    throw new InvalidArgumentError('FROM must not be above TO.');
  return range;
}

export const RECIPES: Record<string, v1.Recipe> = {
  nuteprune: v1.Recipe.RECIPE_NUTEPRUNE,
  distill: v1.Recipe.RECIPE_DISTILL,
  lm: v1.Recipe.RECIPE_LM,
};
export const SCHEDULES: Record<string, v1.ScheduleShape> = {
  linear: v1.ScheduleShape.SCHEDULE_SHAPE_LINEAR,
  cubic: v1.ScheduleShape.SCHEDULE_SHAPE_CUBIC,
};
export const SPARSITY_CONTROLS: Record<string, v1.SparsityControl> = {
  multipliers: v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS,
  tracking: v1.SparsityControl.SPARSITY_CONTROL_TRACKING,
};
export const DTYPES: Record<string, v1.ComputeDtype> = {
  f32: v1.ComputeDtype.COMPUTE_DTYPE_F32,
  bf16: v1.ComputeDtype.COMPUTE_DTYPE_BF16,
};
export const STATUSES: Record<string, v1.RunStatus> = {
  queued: v1.RunStatus.RUN_STATUS_QUEUED,
  preparing: v1.RunStatus.RUN_STATUS_PREPARING,
  training: v1.RunStatus.RUN_STATUS_TRAINING,
  paused: v1.RunStatus.RUN_STATUS_PAUSED,
  recovering: v1.RunStatus.RUN_STATUS_RECOVERING,
  completed: v1.RunStatus.RUN_STATUS_COMPLETED,
  failed: v1.RunStatus.RUN_STATUS_FAILED,
  cancelled: v1.RunStatus.RUN_STATUS_CANCELLED,
  damaged: v1.RunStatus.RUN_STATUS_DAMAGED,
  deleted: v1.RunStatus.RUN_STATUS_DELETED,
};

export function choice<T>(choices: Record<string, T>): (text: string) => T {
  return (text) => {
    const value = Object.hasOwn(choices, text) ? choices[text] : undefined;
    if (value === undefined) throw new InvalidArgumentError(`Allowed are ${Object.keys(choices).join(', ')}.`);
    return value;
  };
}

export function choices<T>(allowed: Record<string, T>): (text: string, previous: T[] | undefined) => T[] {
  const one = choice(allowed);
  return (text, previous = []) => [...previous, ...list(text).map(one)];
}
