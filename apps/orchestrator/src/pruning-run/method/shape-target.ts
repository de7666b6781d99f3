// The shapes that a run's masks have to take, so that the program which the result is for can use them.
import type { ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import { blockOf } from './gguf-types.js';

export interface Shape {
  /** The open units of a layer and the open hidden units are a multiple of this number. */
  multipleOf: number;
  /** Whether all layers have the same shape. */
  uniform: boolean;
  /** Whether a layer keeps either all its heads or none. */
  wholeAttention: boolean;
  /**
   * Whether the number of open parameters equals the number that the probabilities give, to within half a unit. Only masks without shapes
   * have this.
   */
  exactSize: boolean;
}

/** The number of values in a block of GGUF's quantized types. */
const QUANTIZED_BLOCK = 32;
/** A multiple of this width suits the matrix units of cards. */
const EVEN_WIDTH = 64;
/** From this hidden size on, widths are multiples of EVEN_WIDTH. In a narrower model these steps would be too coarse to meet a target. */
const WIDE_MODEL = 1024;

const NO_WIDTHS = { multipleOf: 1, uniform: false, wholeAttention: false };
export const FREE: Shape = { ...NO_WIDTHS, exactSize: false };

/** Returns undefined where masks keep the shapes that they learn, and each group of masks is rounded by itself. */
export function shapeOf(
  settings: Pick<RunSettings, 'shapeTarget' | 'maskRounding' | 'targetBytes' | 'budgetDtype'>,
  { hiddenSize }: Pick<ModelIdentity, 'hiddenSize'>,
): Shape | undefined {
  const { shapeTarget: target, maskRounding } = settings;
  if (target === 'free') return maskRounding === 'size' ? { ...NO_WIDTHS, exactSize: true } : undefined;
  const usual = target !== 'gguf' && hiddenSize >= WIDE_MODEL ? EVEN_WIDTH : QUANTIZED_BLOCK;
  const multipleOf = Math.max(usual, blockOf(settings));
  return { multipleOf, uniform: target === 'uniform', wholeAttention: target === 'vllm', exactSize: false };
}
