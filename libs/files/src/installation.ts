// Tells how Espalier is installed on this machine: as a clone, which its scripts build, or as an installed package, which has the programs
// and the sources of the native engine. Beside an installed package there may be a binary package of this kind of machine, which has the
// compiled engine and SQLite (scripts/engine-packages/main.mjs).
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../../../../', import.meta.url); // seen from dist/libs/files/src
const inRoot = (path: string): string => fileURLToPath(new URL(path, ROOT));

/** Returns the script that builds the native engine of an installed package; null in a clone. */
export function engineBuilder(): string | null {
  return existsSync(inRoot('scripts/setup.mjs')) ? null : inRoot('scripts/build-engine.mjs');
}

const BUILT = inRoot('native-engine/build');
const ADDON = 'espalier_native.node';
/** SQLite's addon fits one interface of Node (its "ABI"); the engine's fits all. */
const SQLITE = `sqlite-${process.versions.modules}.node`;

interface Manifest {
  readonly version: string;
  /** The digest of the engine's sources. A release writes it into its package and into those with binaries. */
  readonly engineSources?: string;
}

/** Returns the folder of the engine's compiled programs. An engine that was built here goes before that of a binary package. */
export function engineFolder(): string {
  return engineBuilder() === null || existsSync(join(BUILT, ADDON)) ? BUILT : (binaryPackage() ?? BUILT);
}

/** Returns the path of the compiled native engine. */
export function nativeAddon(): string {
  return process.env['ESPALIER_NATIVE_ADDON'] ?? join(engineFolder(), ADDON);
}

/** Returns the path of SQLite, compiled for this Node. */
export function sqliteAddon(): string {
  if (engineBuilder() === null) return join(packageFolder('better-sqlite3'), 'build/Release/better_sqlite3.node');
  const ready = join(binaryPackage() ?? BUILT, SQLITE);
  return existsSync(ready) ? ready : join(BUILT, SQLITE);
}

/** Loads SQLite for the bundles (scripts/bundle.mjs). */
export function loadSqlite(): unknown {
  const path = sqliteAddon();
  if (!existsSync(path)) throw new Error(`${MISSING_SQLITE}: ${path}`);
  return createRequire(import.meta.url)(path);
}

/** Returns the compiled parts that an installed package has yet to build here. With ESPALIER_CUDA=ON it builds an engine of its own. */
export function unbuiltParts(): ('engine' | 'sqlite')[] {
  const own = process.env['ESPALIER_CUDA']?.toUpperCase() === 'ON' ? join(BUILT, ADDON) : nativeAddon();
  return [...(existsSync(own) ? [] : ['engine' as const]), ...(existsSync(sqliteAddon()) ? [] : ['sqlite' as const])];
}

/** Returns the folder of the binary package; null where it is missing, or was made from other sources of the engine than those here. */
function binaryPackage(): string | null {
  const folder = packageFolder(`espalier-${process.platform}-${process.arch}`);
  const own = manifestOf(inRoot('.')).engineSources;
  return folder !== '' && own !== undefined && manifestOf(folder).engineSources === own ? folder : null;
}

/** Returns the folder of a package, which npm puts beside this one or inside it; empty where the package is missing. */
function packageFolder(name: string): string {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  } catch {
    return '';
  }
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Returns the folder of the native engine's sources, where it also is built. */
export function nativeSources(): string {
  return inRoot('native-engine');
}

/** Returns the command that builds the native engine again. */
export function engineBuildCommand(): string {
  return engineBuilder() === null ? 'npm run build' : `rm -rf ${BUILT} && espalier devices`;
}

/** Returns the command by which a user runs a script of package.json. */
export function packageScript(name: string): string {
  return engineBuilder() === null ? `npm run ${name}` : `npm explore espalier -- npm run ${name}`;
}

/** Returns the version of this installation. */
export function ownVersion(): string {
  return manifestOf(inRoot('.')).version;
}

/** The beginning of the error of better-sqlite3 whose compiled part is missing. */
const MISSING_SQLITE = 'Could not locate the bindings file';

/**
 * Returns plain words for the error of a package whose compiled part is missing, as in a checkout whose build was cut short; null for every
 * other error.
 */
export function halfBuiltText(error: unknown): string | null {
  if (!(error instanceof Error) || !error.message.startsWith(MISSING_SQLITE)) return null;
  const build = engineBuilder() === null ? 'npm run build' : 'espalier devices';
  return `this installation is only half built, since the compiled part of SQLite (better-sqlite3) is missing: run "${build}"`;
}
