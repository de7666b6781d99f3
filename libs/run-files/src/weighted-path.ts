// A path of training text with its weight, "corpus.jsonl=0.7", where several texts are mixed.
import { existsSync } from 'node:fs';

export interface WeightedPath {
  path: string;
  weight?: number;
}

/** Anything that begins like a number: other words after "=" belong to a path. */
const WEIGHT = /^(.+)=([-+]?(?:\d|\.\d|nan|inf)[^/=]*)$/i;

/** @throws RangeError where what stands behind the last "=" is no weight, though it begins like one */
export function weightedPath(text: string, isThere: (path: string) => boolean = existsSync): WeightedPath {
  const [, path, word] = WEIGHT.exec(text) ?? [];
  if (path === undefined || word === undefined || isThere(text)) return { path: text };
  const weight = /^[\d.]+(e[-+]?\d+)?$/i.test(word) ? Number(word) : NaN;
  if (Number.isFinite(weight) && weight > 0) return { path, weight };
  throw new RangeError(`${JSON.stringify(word)} is no weight; a number above 0 is allowed behind "=": ${path}=0.7`);
}

/** As `weightedPath` reads it. @param weights as many as there are paths, or none */
export const withWeights = (paths: readonly string[], weights: readonly number[]): string[] =>
  weights.length === 0 ? [...paths] : paths.map((path, index) => `${path}=${weights[index]}`);
