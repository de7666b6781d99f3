// Loads the native addon, once and when it is needed first; what it throws becomes one class of errors.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { NativeAddon } from './native.js';

/** A failure of the engine: a stable code, the option or file at fault, what was wrong and what is allowed. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    readonly code: string,
    readonly field: string,
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
  }
}

let loaded: NativeAddon | undefined;

export function addon(): NativeAddon {
  if (loaded) return loaded;
  const path =
    process.env['ESPALIER_NATIVE_ADDON'] ?? fileURLToPath(new URL('../../native-engine/build/espalier_native.node', import.meta.url));
  if (!existsSync(path))
    throw new EngineError('ENGINE_UNAVAILABLE', '', `the native engine is not built: ${path} is missing; run "npm run build"`);
  // How long idle OpenMP threads spin before they sleep. The runtime's default outlasts a time slice: on a machine with other
  // work, two engines slowed each other down five times instead of two. Read when the library loads, hence here.
  process.env['GOMP_SPINCOUNT'] ??= '2000';
  loaded = createRequire(import.meta.url)(path) as NativeAddon;
  return loaded;
}

export function mapped<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw toEngineError(error);
  }
}

export function toEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const { code, field, message } = (error ?? {}) as { code?: unknown; field?: unknown; message?: unknown };
  if (typeof code === 'string' && typeof field === 'string') return new EngineError(code, field, String(message), error);
  return new EngineError('INTERNAL', '', typeof message === 'string' ? message : String(error), error);
}
