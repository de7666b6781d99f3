// Hides from viewers where models and texts lie that the server's user has not put into a folder of --data-root. A run's own record names
// them, as events and messages of errors do, so each text of an answer passes this function.
import { resolve } from 'node:path';
import { EspalierError, includesRole, ROLES, toEspalierError } from '#protocol';
import type { OrchestratorConfig } from '../../config.js';
import { roleOf, type Grant } from './access.js';
import { isInside } from './allowed-paths.js';

export const HIDDEN_PATH = '(outside the data roots)';
/** An absolute path in quotes. */
const QUOTED_PATH = /(["'`])(\/(?:(?!\1)[^\n])*)\1/g;
/**
 * An absolute path within a sentence, which follows no word, and the rest of its line. Without quotes nothing tells whether a path ends at
 * a space or a mark, so what follows a path that is hidden is hidden with it.
 */
const PATH_IN_TEXT = /(?<![\w.~:/*-])\/[^\s"'`,;:()<>|/][^\s"'`,;:()<>|]*/g;

/** Tells whether answers to this caller hide paths outside the roots. */
export const hidesPaths = (grant: Grant, { viewersReadTexts }: Pick<OrchestratorConfig, 'viewersReadTexts'>): boolean =>
  !viewersReadTexts && !includesRole(roleOf(grant), ROLES.operator);

/** Returns a copy of a message in which no text names a path outside the roots. */
export function withoutOutsidePaths<T>(message: T, roots: readonly string[]): T {
  const isHidden = (path: string): boolean => path !== '/' && !isInside(resolve(path), roots);
  const shown = (text: string): string => {
    if (!text.includes('/')) return text;
    if (text.startsWith('/') && isHidden(text)) return HIDDEN_PATH;
    const json = jsonIn(text);
    if (json !== undefined) {
      const safe = JSON.stringify(copy(json));
      return safe === JSON.stringify(json) ? text : safe;
    }
    const lines = text.replace(QUOTED_PATH, (all, quote: string, path: string) => (isHidden(path) ? quote + HIDDEN_PATH + quote : all));
    return lines.split('\n').map(shownLine).join('\n');
  };
  const shownLine = (line: string): string => {
    for (const { 0: path, index } of line.matchAll(PATH_IN_TEXT)) if (isHidden(path)) return line.slice(0, index) + HIDDEN_PATH;
    return line;
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

/** The value of a text that is JSON of an object or a list, such as the data of an event. */
function jsonIn(text: string): unknown {
  if (!/^[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const hasOutsidePath = (facts: object, roots: readonly string[]): boolean =>
  JSON.stringify(withoutOutsidePaths(facts, roots)) !== JSON.stringify(facts);
