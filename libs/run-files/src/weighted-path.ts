// Reads a path of training text with its weight, "corpus.jsonl=0.7". Weights are needed where several texts are mixed.
import { existsSync } from 'node:fs';

export interface WeightedPath {
  path: string;
  weight?: number;
}

/** Matches a text that has a "=" and after it the beginning of a number; other words after "=" belong to the path. */
const WEIGHT = /^(.+)=([-+]?(?:\d|\.\d|nan|inf)[^/=]*)$/i;

/** Whether or not the path is there: a file's extension stands before the colon. */
const WEIGHT_BEHIND_COLON = /^(.+):(\d*\.?\d+)$/;
const DATA_FILE = /\.(jsonl?|txt|parquet|zst|gz|bin|npy)$/i;

/** @throws RangeError if the text after the last "=" begins like a number but is not a weight, or if a weight stands after a ":" */
export function weightedPath(text: string, isThere: (path: string) => boolean = existsSync): WeightedPath {
  const [, before, number] = WEIGHT_BEHIND_COLON.exec(text) ?? [];
  if (before !== undefined && !isThere(text) && (isThere(before) || DATA_FILE.test(before)))
    throw new RangeError(`${JSON.stringify(text)} is not there; a weight is after "=": ${before}=${number}`);
  const [, path, word] = WEIGHT.exec(text) ?? [];
  if (path === undefined || word === undefined || isThere(text)) return { path: text };
  const weight = /^[\d.]+(e[-+]?\d+)?$/i.test(word) ? Number(word) : NaN;
  if (Number.isFinite(weight) && weight > 0) return { path, weight };
  throw new RangeError(`${JSON.stringify(word)} is not a weight; a number above 0 is allowed after "=": ${path}=0.7`);
}

/** Writes paths with weights, in the form that `weightedPath` reads. @param weights one for each path, or none at all */
export const withWeights = (paths: readonly string[], weights: readonly number[]): string[] =>
  weights.length === 0 ? [...paths] : paths.map((path, index) => `${path}=${weights[index]}`);
