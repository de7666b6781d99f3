// Makes the models of a ladder from their measurements.
import type { v1 } from '#protocol';
import type { Measured } from '../engine-calls.js';
import type { Candidate } from './candidate.js';

/** A pruned state with its measurements. */
export interface MeasuredMark extends Pick<Candidate, 'mark' | 'perplexity' | 'budgets'> {
  speeds: Measured;
}

/**
 * Makes the candidates. A machine's speed drifts from one measurement to the next, so only ratios to the intact model can be compared. The
 * intact model's times are the medians over all measurements, and the times of the others are computed from these and the ratios.
 */
export function candidatesOf(intactPerplexity: number, rated: readonly MeasuredMark[]): Candidate[] {
  const prefillSeconds = median(rated.map(({ speeds }) => speeds.dense.prefillSeconds));
  const passSeconds = median(rated.map(({ speeds }) => speeds.dense.passSeconds));
  const [first] = rated;
  if (first === undefined) return [];
  const { dense } = first.speeds;
  const candidate = (
    one: Omit<MeasuredMark, 'speeds'>,
    { parameterCount, bytes, prefillSpeedUp, decodeSpeedUp }: v1.ModelSpeed,
  ): Candidate => {
    const [prefill, decode] = [prefillSpeedUp ?? AS_FAST, decodeSpeedUp ?? AS_FAST];
    const sizes = {
      parameters: Number(parameterCount),
      bytes: Number(bytes),
      sparsity: 1 - Number(parameterCount) / Number(dense.parameterCount),
    };
    const times = { prefillSeconds: prefillSeconds / prefill.times, passSeconds: passSeconds / decode.times };
    return { ...one, ...sizes, ...times, prefillSpeedUp: prefill, decodeSpeedUp: decode };
  };
  return [
    candidate({ mark: null, perplexity: intactPerplexity }, dense),
    ...rated.map(({ speeds, ...one }) => candidate(one, speeds.compact)),
  ];
}

const AS_FAST = { times: 1, low: 1, high: 1 };

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1);
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}
