// Turns the public requests for texts into those for the engine, and names field by field what is wrong with a request.
import { engineV1, invalidRequest, type FieldViolation, type v1 } from '#protocol';
import type { TextOptions } from './texts.js';

const MOST_PROMPTS = 64;
const MOST_STOPS = 16;
const DEFAULT_TOKENS = 128;
const HOTTEST = 100;

/** @param positions the number of the model's positions */
export function textOptions(request: v1.GenerateRequest, positions: number): TextOptions {
  const { prompts, maxTokens, temperature, topP = 1, seed, stop, chat } = request;
  const violations: FieldViolation[] = [];
  const refuse = (holds: boolean, field: string, description: string): void => {
    if (!holds) violations.push({ field, description, code: 'FIELD_OUT_OF_RANGE' });
  };
  refuse(prompts.length >= 1 && prompts.length <= MOST_PROMPTS, 'prompts', `must be 1 to ${MOST_PROMPTS} texts, are ${prompts.length}`);
  refuse(maxTokens <= positions, 'max_tokens', `must be at most the model's ${positions} positions, is ${maxTokens}`);
  refuse(temperature >= 0 && temperature <= HOTTEST, 'temperature', `must be from 0 to ${HOTTEST}, is ${temperature}`);
  refuse(topP > 0 && topP <= 1, 'top_p', `must be above 0 and at most 1, is ${topP}`);
  refuse(stop.length <= MOST_STOPS, 'stop', `must be at most ${MOST_STOPS} texts, are ${stop.length}`);
  stop.forEach((text, index) => refuse(text !== '', `stop[${index}]`, 'is empty: every text would end at once'));
  const computeDtype = DTYPES[request.computeDtype];
  if (computeDtype === undefined) violations.push(dtypeViolation(request.computeDtype));
  if (computeDtype === undefined || violations.length > 0) throw invalidRequest(violations);
  const tokens = Math.min(maxTokens === 0 ? DEFAULT_TOKENS : maxTokens, positions);
  const how = { maxTokens: tokens, temperature, topP, seed, stop, computeDtype };
  return { prompts, ...how, mostPromptTokens: 0, wholePrompts: chat };
}

export function dtypeViolation(given: string): FieldViolation {
  return { field: 'compute_dtype', description: `must be "f32" or "bf16", is "${given}"`, code: 'FIELD_OUT_OF_RANGE' };
}

export const DTYPES: Partial<Record<string, engineV1.ComputeDtype>> = {
  '': engineV1.ComputeDtype.COMPUTE_DTYPE_F32,
  f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32,
  bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16,
};
