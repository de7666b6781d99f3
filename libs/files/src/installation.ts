// How Espalier lies on this machine: a clone, which its scripts build, or an installed package, which has its programs and the sources of
// its native engine.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../../../../', import.meta.url); // of dist/libs/files/src
const inRoot = (path: string): string => fileURLToPath(new URL(path, ROOT));

/** The script that builds the native engine of an installed package; null in a clone. */
export function engineBuilder(): string | null {
  return existsSync(inRoot('scripts/setup.mjs')) ? null : inRoot('scripts/build-engine.mjs');
}

/** The compiled native engine. */
export function nativeAddon(): string {
  return process.env['ESPALIER_NATIVE_ADDON'] ?? inRoot('native-engine/build/espalier_native.node');
}

/** How a user runs one of the scripts of package.json. */
export function packageScript(name: string): string {
  return engineBuilder() === null ? `npm run ${name}` : `npm explore espalier -- npm run ${name}`;
}
