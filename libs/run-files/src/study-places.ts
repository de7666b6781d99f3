// Says where in a study's file a run stands that the server refuses. The server knows runs by their number alone.
import { isScalar, type Pair } from 'yaml';
import { EspalierError, type FieldViolation } from '#protocol';
import { rangeOf } from './yaml-reader.js';

/** Where the file describes a run. */
export interface RunPlace {
  /** "run wanda with target_sparsity 50%, seed 2" */
  words: string;
  /** The places of the run's values, by the file's keys. */
  pairs: ReadonlyMap<string, Pair>;
  /** Null where the file lists no variants. */
  variant: Pair | null;
}

/** @param varied the run's values of the grid, and its seed */
export const wordsOfRun = (variant: string, varied: readonly string[]): string =>
  `run ${variant}${varied.length === 0 ? '' : ` with ${varied.join(', ')}`}`;

/** The keys of the file for fields of a request with another name. */
const KEYS: Record<string, string> = {
  model_path: 'model',
  train_path: 'data',
  more_train_paths: 'data',
  train_weights: 'data',
  validation_path: 'validation',
  more_validation_paths: 'validation',
};
const RUN_PATH = /^runs\[(\d+)\]\.?(.*)$/;

/**
 * Returns what puts the file's places into the refusals of the server.
 * @param field the argument, or the field of a request, that holds the file
 * @param lineOf names the line of a place in the text
 */
export function placedBy(places: readonly RunPlace[], field: string, lineOf: (offset: number | undefined) => string) {
  const placed = ({ field: of, description, code }: FieldViolation): FieldViolation | null => {
    const [, index = '', path = ''] = RUN_PATH.exec(of) ?? [];
    const place = places[Number(index || Number.NaN)];
    if (place === undefined) return null;
    const last = /(\w+)(?:\[\d+\])?$/.exec(path)?.[1] ?? '';
    const key = KEYS[last] ?? last;
    const pair = place.pairs.get(key) ?? place.variant;
    const line = lineOf(pair === null ? undefined : (rangeOf(pair.value) ?? rangeOf(pair.key)));
    return { field, description: [line, place.words, ...(key === '' ? [] : [key]), description].join(': '), code };
  };
  return (error: unknown): unknown => {
    if (!(error instanceof EspalierError)) return error;
    const violations = error.violations.map(placed).filter((one) => one !== null);
    if (violations.length === 0) return error;
    const message = violations.map(({ description }) => description).join('; ');
    return new EspalierError(error.code, message, { violations, metadata: error.metadata, cause: error });
  };
}

/** A value as the file has it. */
export const sourceOf = ({ value }: Pair): string => (isScalar(value) ? (value.source ?? '') : String(value));
