// The numbers of steps over which a reader can smooth curves.
import { count } from '../format.js';

export const SMOOTHING_STEPS = [0, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/** Reads the steps of smoothing from the address; 0 where there is no allowed number. */
export function smoothingOf(text: string | null): number {
  const steps = Number(text ?? '0');
  return SMOOTHING_STEPS.includes(steps) ? steps : 0;
}

export const smoothingWords = (steps: number): string => `smoothed over ${count(steps)} steps`;
