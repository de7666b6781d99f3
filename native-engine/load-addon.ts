// Loads the compiled addon when it is first needed, and turns its errors into one class.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { engineBuilder, nativeAddon } from '#files';
import type { NativeAddon } from './native.js';

/** A failure of the engine. It has a stable code, and names the option or file at fault, what was wrong and what is allowed. */
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
  const path = nativeAddon();
  if (!existsSync(path)) {
    const build = engineBuilder() === null ? 'npm run build' : 'espalier devices';
    throw new EngineError('ENGINE_UNAVAILABLE', '', `the native engine is not built: ${path} is missing; run "${build}"`);
  }
  // The time for which idle OpenMP threads spin before they sleep. The runtime's default outlasts a time slice: on a machine with other
  // work, two engines slowed each other down five times instead of two. The library reads the variable when it loads, so it is set here.
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
