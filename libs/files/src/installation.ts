// Tells how Espalier is installed on this machine: as a clone, which its scripts build, or as an installed package, which has the programs
// and the sources of the native engine.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../../../../', import.meta.url); // seen from dist/libs/files/src
const inRoot = (path: string): string => fileURLToPath(new URL(path, ROOT));

/** Returns the script that builds the native engine of an installed package; null in a clone. */
export function engineBuilder(): string | null {
  return existsSync(inRoot('scripts/setup.mjs')) ? null : inRoot('scripts/build-engine.mjs');
}

/** Returns the path of the compiled native engine. */
export function nativeAddon(): string {
  return process.env['ESPALIER_NATIVE_ADDON'] ?? inRoot('native-engine/build/espalier_native.node');
}

/** Returns the folder of the native engine's sources, where it also is built. */
export function nativeSources(): string {
  return inRoot('native-engine');
}

/** Returns the command that builds the native engine again. */
export function engineBuildCommand(): string {
  return engineBuilder() === null ? 'npm run build' : `rm -r ${inRoot('native-engine/build')} && espalier devices`;
}

/** Returns the command by which a user runs a script of package.json. */
export function packageScript(name: string): string {
  return engineBuilder() === null ? `npm run ${name}` : `npm explore espalier -- npm run ${name}`;
}

/** Returns the version of this installation. */
export function ownVersion(): string {
  return (JSON.parse(readFileSync(inRoot('package.json'), 'utf8')) as { version: string }).version;
}

/**
 * Returns plain words for the error of a package whose compiled part is missing, as in a checkout whose build was cut short; null for every
 * other error.
 */
export function halfBuiltText(error: unknown): string | null {
  if (!(error instanceof Error) || !error.message.startsWith('Could not locate the bindings file')) return null;
  const build = engineBuilder() === null ? 'npm run build' : 'npm rebuild better-sqlite3';
  return `this installation is only half built, since the compiled part of SQLite (better-sqlite3) is missing: run "${build}"`;
}
