// Tells releases apart by the defaults of their settings. Two builds may carry one version and the same public API, and yet train another
// run for the same request.
import { createHash } from 'node:crypto';
import { settingsTable } from './settings-table.js';

/**
 * A digest of the defaults that follow from other settings, the model or the target. The server's code computes them, which a command does
 * not have, so the digest is written here. `computed-defaults.test.ts` of the orchestrator tells the digest that belongs to the code.
 */
export const COMPUTED_DEFAULTS = 'b165a08a';

const LENGTH = 8;

/** Returns the first digits of a digest, enough to tell the defaults of a few releases apart. */
export const shortDefaultsDigest = (defaults: unknown): string =>
  createHash('sha256').update(JSON.stringify(defaults)).digest('hex').slice(0, LENGTH);

let digest: string | undefined;

/** A digest of the table of settings, without its words for people, and of the computed defaults. */
export function defaultsDigest(): string {
  digest ??= shortDefaultsDigest([settingsTable().map(({ help: _, numbers, ...setting }) => [setting, ...numbers]), COMPUTED_DEFAULTS]);
  return digest;
}
