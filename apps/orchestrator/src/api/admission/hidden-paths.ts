// Hides from viewers where models and texts lie that the server's user has not put into a folder of --data-root. A run's own record names
// them, as events and messages of errors do, so each text of an answer passes this function.
import { resolve } from 'node:path';
import { EspalierError, includesRole, ROLES, toEspalierError } from '#protocol';
import type { OrchestratorConfig } from '../../config.js';
import { roleOf, type Grant } from './access.js';
import { isInside } from './allowed-paths.js';

export const HIDDEN_PATH = '(outside the data roots)';
/** An absolute path within a sentence: it follows no word, and ends before a space or a mark. */
const PATH_IN_TEXT = /(?<![\w.~:/*-])\/(?:[^\s"'`\\,;:()<>|/]+\/)*[^\s"'`\\,;:()<>|/]*[^\s"'`\\,;:()<>|/.]/g;
/** A text of JSON that is an absolute path as a whole, which may have spaces. */
const PATH_IN_JSON = /"(\/(?:[^"\\]|\\.)*)"/g;

/** Tells whether answers to this caller hide paths outside the roots. */
export const hidesPaths = (grant: Grant, { viewersReadTexts }: Pick<OrchestratorConfig, 'viewersReadTexts'>): boolean =>
  !viewersReadTexts && !includesRole(roleOf(grant), ROLES.operator);

/** Returns a copy of a message in which no text names a path outside the roots. */
export function withoutOutsidePaths<T>(message: T, roots: readonly string[]): T {
  const isHidden = (path: string): boolean => path !== '/' && !isInside(resolve(path), roots);
  const shown = (text: string): string => {
    if (!text.includes('/')) return text;
    if (text.startsWith('/')) return isHidden(text) ? HIDDEN_PATH : text;
    return text
      .replace(PATH_IN_JSON, (quoted, path: string) => (isHidden(JSON.parse(quoted) as string) ? `"${HIDDEN_PATH}"` : `"${path}"`))
      .replace(PATH_IN_TEXT, (path) => (isHidden(path) ? HIDDEN_PATH : path));
  };
  const copy = (value: unknown): unknown => {
    if (typeof value === 'string') return shown(value);
    if (Array.isArray(value)) return value.map(copy);
    if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, copy(inner)]));
  };
  return copy(message) as T;
}

/** Returns the error of a call as a caller may see it who is not shown paths outside the roots. */
export function errorWithoutOutsidePaths(error: unknown, roots: readonly string[]): unknown {
  const { code, message, violations, metadata } = toEspalierError(error);
  const words = { message, violations, metadata };
  if (!hasOutsidePath(words, roots)) return error;
  const { message: shown, ...details } = withoutOutsidePaths(words, roots);
  return new EspalierError(code, shown, { ...details, cause: error });
}

export const hasOutsidePath = (facts: object, roots: readonly string[]): boolean =>
  JSON.stringify(withoutOutsidePaths(facts, roots)) !== JSON.stringify(facts);
