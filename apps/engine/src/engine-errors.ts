// Failures of the native engine as errors of the protocol, in the words of the request.
import { EspalierError, invalidField } from '#protocol';
import { EngineError } from '#native-engine';

/** Where the engine's name of an option is not simply the request's in another spelling. */
const requestFields: Record<string, string> = {
  folder: 'model_path',
  modelFolder: 'model_path',
  model: 'model_path',
  ids: 'tokens',
  data: 'tokens',
  outFolder: 'scratch',
};

export function toProtocolError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  if (error.field === '') return new EspalierError(error.code, error.message, { cause: error });
  // Fields of files ("config.rope_scaling.rope_type", "model.safetensors:lm_head.weight") stay as they are.
  const field = requestFields[error.field] ?? error.field.replace(/[a-z][A-Z]/g, (pair) => `${pair[0]}_${pair[1]!.toLowerCase()}`);
  return new EspalierError(error.code, error.message, {
    violations: [{ field, description: error.message, code: error.code }],
    cause: error,
  });
}

/** A bigint of the wire as a number that is exact. */
export function exactNumber(value: bigint, field: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw invalidField('FIELD_OUT_OF_RANGE', field, `is ${value}; allowed are 0 to 2^53 - 1`);
  return Number(value);
}
