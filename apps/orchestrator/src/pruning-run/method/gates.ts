// The gates of a run: which kinds it has, and the probability that a gate is open. The engine has this
// formula too (core/method/masks/hard_concrete.h); both are tested against testdata/vectors/open-probability.txt.
import type { FieldViolation } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';

/** The range in which the engine keeps log-alphas. */
export const LOG_ALPHA_MAX = Math.log(100);
export const LOG_ALPHA_MIN = Math.log(0.01);
export const OPEN_OFFSET = (2 / 3) * Math.log(11);

export const openProbability = (logAlpha: number): number => 1 / (1 + Math.exp(-logAlpha - OPEN_OFFSET));

const REQUIRED_GATES = ['head', 'unit', 'hidden'];

/** The kinds of block gates that a run has. A head or unit is open only where the gates of its blocks are open, too. */
export interface BlockGates {
  kvGroup: boolean;
  attention: boolean;
  mlp: boolean;
}

export const NO_BLOCK_GATES: BlockGates = { kvGroup: false, attention: false, mlp: false };

export function blockGatesOf({ gates }: Pick<RunSettings, 'gates'>): BlockGates {
  return { kvGroup: gates.includes('kv-group'), attention: gates.includes('attention'), mlp: gates.includes('mlp') };
}

const refused = (description: string): FieldViolation[] => [{ field: 'settings.gates', description, code: 'FIELD_OUT_OF_RANGE' }];

/** Reports sets of gates that make no sense for any model. */
export function gateViolations({ gates, shapeTarget }: Pick<RunSettings, 'gates' | 'shapeTarget'>): FieldViolation[] {
  const lacking = REQUIRED_GATES.filter((kind) => !gates.includes(kind));
  if (gates.length > 0 && lacking.length > 0)
    return refused(`lacks ${lacking.join(', ')}: every run has gates of heads, units and hidden units`);
  const { kvGroup, attention, mlp } = blockGatesOf({ gates });
  if (shapeTarget === 'vllm' && (kvGroup || attention))
    return refused(
      `has ${kvGroup ? 'kv-group' : 'attention'}, but shape_target vllm keeps or drops a layer's attention as a whole already`,
    );
  if (shapeTarget === 'uniform' && attention !== mlp)
    return refused('has one of attention and mlp, but layers are alike with shape_target uniform: a layer goes with both or stays');
  return [];
}

/**
 * Reports gates of key/value groups on a model where each query head has a key/value head of its own: there the head's gate does the same.
 */
export function groupViolations(
  { gates }: Pick<RunSettings, 'gates'>,
  { heads, kvHeads }: { heads: number; kvHeads: number },
): FieldViolation[] {
  if (!gates.includes('kv-group') || heads !== kvHeads) return [];
  return refused(`has kv-group, but each of the model's ${heads} query heads has a key/value head of its own: gates of heads close both`);
}
