// Writes a batch of step metrics as one block of doubles: small enough to keep all steps of all runs, and quick to search.
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';

/** The columns of a row in their order. Null is stored as NaN, and a flag as 0 or 1. */
export const METRIC_COLUMNS = [
  'step',
  'loss',
  'layerLoss',
  'klLoss',
  'lmLoss',
  'lagrangian',
  'scheduledSparsity',
  'expectedSparsity',
  'gradientNorm',
  'lambda1',
  'lambda2',
  'seconds',
  'skipped',
  'openHeads',
  'openUnits',
  'openHidden',
  'teacherMark',
] as const satisfies readonly (keyof StepMeasurement)[];
export const ROW_DOUBLES = METRIC_COLUMNS.length;

export function encodeSteps(steps: readonly StepMeasurement[]): Buffer {
  const rows = new Float64Array(steps.length * ROW_DOUBLES);
  steps.forEach((step, index) => {
    METRIC_COLUMNS.forEach((column, at) => {
      const value = step[column];
      rows[index * ROW_DOUBLES + at] = value === null || value === undefined ? NaN : Number(value) + 0; // without -0, as in JSON
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
  const at = index * ROW_DOUBLES;
  const value = (column: number): number => rows[at + column]!;
  const nullable = (column: number): number | null => (Number.isNaN(rows[at + column]!) ? null : rows[at + column]!);
  return {
    step: value(0),
    loss: nullable(1),
    layerLoss: nullable(2),
    klLoss: nullable(3),
    lmLoss: nullable(4),
    lagrangian: nullable(5),
    scheduledSparsity: value(6),
    expectedSparsity: value(7),
    gradientNorm: nullable(8),
    lambda1: value(9),
    lambda2: value(10),
    seconds: value(11),
    skipped: value(12) === 1,
    openHeads: value(13),
    openUnits: value(14),
    openHidden: value(15),
    teacherMark: nullable(16),
  };
}

export function rowCount(rows: Float64Array): number {
  return rows.length / ROW_DOUBLES;
}
