// Writes a batch of step metrics as one block of doubles: small enough to keep all steps of all runs, and quick to search.
import { STEP_FIGURE_NAMES, STEP_FIGURES, type StepFigure, type StepMeasurement } from '../../pruning-run/record/steps-measured.js';

/** The columns of a row in their order. Null is stored as NaN, and a flag as 0 or 1. */
export const METRIC_COLUMNS = STEP_FIGURE_NAMES;
export const ROW_DOUBLES = METRIC_COLUMNS.length;

export function encodeSteps(steps: readonly StepMeasurement[]): Buffer {
  const rows = new Float64Array(steps.length * ROW_DOUBLES);
  steps.forEach((step, index) => {
    METRIC_COLUMNS.forEach((column, at) => {
      const value = step[column];
      rows[index * ROW_DOUBLES + at] = value === null ? NaN : Number(value) + 0; // without -0, as in JSON
    });
  });
  return Buffer.from(rows.buffer);
}

/** Copies the bytes, since a database's buffers are not aligned to doubles. */
export function decodeRows(blob: Uint8Array): Float64Array {
  const rows = new Float64Array(blob.byteLength / 8);
  new Uint8Array(rows.buffer).set(blob);
  return rows;
}

export function stepAt(rows: Float64Array, index: number): StepMeasurement {
  const figures = METRIC_COLUMNS.map((name, column) => [name, figureOf(STEP_FIGURES[name], numberAt(rows, index * ROW_DOUBLES + column))]);
  return Object.fromEntries(figures) as StepMeasurement;
}

function figureOf(kind: (typeof STEP_FIGURES)[StepFigure], stored: number): number | boolean | null {
  if (kind === 'flag') return stored === 1;
  return (kind === 'finite' || kind === 'mark') && Number.isNaN(stored) ? null : stored;
}

export function rowCount(rows: Float64Array): number {
  return rows.length / ROW_DOUBLES;
}

/** A number of an array that holds numbers alone; NaN beyond its end. */
export const numberAt = (numbers: Float64Array, at: number): number => numbers[at] ?? NaN;
