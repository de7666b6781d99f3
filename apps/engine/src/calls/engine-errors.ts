// Translates failures of the native engine to errors of the protocol, with the field names of the request.
import { EspalierError, invalidField } from '#protocol';
import { EngineError } from '#native-engine';

/** The fields of requests for options of the native engine whose names differ in more than their spelling. */
const requestFields: Record<string, string> = {
  folder: 'model_path',
  modelFolder: 'model_path',
  model: 'model_path',
  ids: 'tokens',
  data: 'tokens',
};

export function toProtocolError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  if (error.field === '') return new EspalierError(error.code, error.message, { cause: error });
  // Names of fields in files ("config.rope_scaling.rope_type", "model.safetensors:lm_head.weight") are not changed.
  const field = requestFields[error.field] ?? error.field.replace(/[a-z][A-Z]/g, (pair) => `${pair[0]}_${pair[1]!.toLowerCase()}`);
  return new EspalierError(error.code, error.message, {
    violations: [{ field, description: error.message, code: error.code }],
    cause: error,
  });
}

/** Converts a bigint of a message to a number that must be exact. */
export function exactNumber(value: bigint, field: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw invalidField('FIELD_OUT_OF_RANGE', field, `is ${value}; allowed are 0 to 2^53 - 1`);
  return Number(value);
}
