// The probability of a gate to be open, as in the engine (core/method/hard_concrete.h).

/** Where the engine keeps log-alphas. */
export const LOG_ALPHA_MAX = Math.log(100);
export const LOG_ALPHA_MIN = Math.log(0.01);
export const OPEN_OFFSET = (2 / 3) * Math.log(11);

export const openProbability = (logAlpha: number): number => 1 / (1 + Math.exp(-logAlpha - OPEN_OFFSET));
