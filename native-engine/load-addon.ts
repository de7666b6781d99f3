// Loads the compiled addon when it is first needed, and turns its errors into one class.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { engineBuildCommand, engineBuilder, nativeAddon, nativeSources } from '#files';
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
    const build = engineBuilder() === null ? engineBuildCommand() : 'espalier devices';
    throw new EngineError('ENGINE_UNAVAILABLE', '', `the native engine is not built: ${path} is missing; run "${build}"`);
  }
  // The time for which idle OpenMP threads spin before they sleep. The runtime's default outlasts a time slice: on a machine with other
  // work, two engines slowed each other down five times instead of two. The library reads the variable when it loads, so it is set here.
  process.env['GOMP_SPINCOUNT'] ??= '2000';
  const found = createRequire(import.meta.url)(path) as NativeAddon;
  refuseOutdated(found, path);
  process.once('exit', () => found.endJobs());
  loaded = found;
  return loaded;
}

/** Refuses an addon that was built from other sources than those here: a call would fail somewhere, with an error that says little. */
function refuseOutdated(found: Partial<NativeAddon>, path: string): void {
  const expected = interfaceOf(nativeSources());
  if (expected === null || found.interface === expected) return;
  throw new EngineError(
    'ENGINE_UNAVAILABLE',
    '',
    `the native engine does not fit its sources: ${path} was built from others; run "${engineBuildCommand()}"`,
  );
}

/** Returns the digest that addon/interface.cmake compiles into an addon of these sources; null where there are no sources. */
export function interfaceOf(sources: string): string | null {
  const all = createHash('sha256');
  for (const folder of ['addon', 'core/include/espalier', 'core/session']) {
    if (!existsSync(join(sources, folder))) return null;
    const files = readdirSync(join(sources, folder), { encoding: 'utf8', recursive: true }).filter((file) => /\.(h|cpp)$/.test(file));
    for (const file of files.sort()) {
      const digest = createHash('sha256').update(readFileSync(join(sources, folder, file)));
      all.update(`${folder}/${file} ${digest.digest('hex')}\n`);
    }
  }
  return all.digest('hex');
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
