// The shapes that a run's masks are held to, by the engine that its result is for.
import type { ModelIdentity, RunSettings } from '../record/pruning-run.events.js';

export interface Shape {
  /** Open units of a layer, and open hidden units, are a multiple of it. */
  multipleOf: number;
  /** All layers are alike. */
  uniform: boolean;
  /** A layer has all its heads or none. */
  wholeAttention: boolean;
  /** Without shapes: the number of open parameters is the one that the probabilities give, to half a unit. */
  exactSize: boolean;
}

/** A block of GGUF's quantized types. */
const QUANTIZED_BLOCK = 32;
/** Widths that the matrix units of cards like. */
const EVEN_WIDTH = 64;
/** In a narrower model steps of EVEN_WIDTH would be too coarse to meet a target. */
const WIDE_MODEL = 1024;

const NO_WIDTHS = { multipleOf: 1, uniform: false, wholeAttention: false };
export const FREE: Shape = { ...NO_WIDTHS, exactSize: false };

/** undefined: the shapes that the masks learn, each group of masks rounded by itself. */
export function shapeOf(
  { shapeTarget: target, maskRounding }: Pick<RunSettings, 'shapeTarget' | 'maskRounding'>,
  { hiddenSize }: Pick<ModelIdentity, 'hiddenSize'>,
): Shape | undefined {
  if (target === 'free') return maskRounding === 'size' ? { ...NO_WIDTHS, exactSize: true } : undefined;
  const multipleOf = target !== 'gguf' && hiddenSize >= WIDE_MODEL ? EVEN_WIDTH : QUANTIZED_BLOCK;
  return { multipleOf, uniform: target === 'uniform', wholeAttention: target === 'vllm', exactSize: false };
}
