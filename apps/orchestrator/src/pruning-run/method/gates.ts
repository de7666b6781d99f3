// The gates of a run: which kinds it has, and the probability of one to be open, as in the engine (core/method/hard_concrete.h).
import type { FieldViolation } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';

/** Where the engine keeps log-alphas. */
export const LOG_ALPHA_MAX = Math.log(100);
export const LOG_ALPHA_MIN = Math.log(0.01);
export const OPEN_OFFSET = (2 / 3) * Math.log(11);

export const openProbability = (logAlpha: number): number => 1 / (1 + Math.exp(-logAlpha - OPEN_OFFSET));

const OF_EVERY_RUN = ['head', 'unit', 'hidden'];

/** Gates of blocks: those of heads and units lie under them. */
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

/** Sets of gates that have no meaning, whatever the model is. */
export function gateViolations({ gates, shapeTarget }: Pick<RunSettings, 'gates' | 'shapeTarget'>): FieldViolation[] {
  const lacking = OF_EVERY_RUN.filter((kind) => !gates.includes(kind));
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

/** A gate of a group is a second gate of a head where each query head has a key/value head of its own. */
export function groupViolations(
  { gates }: Pick<RunSettings, 'gates'>,
  { heads, kvHeads }: { heads: number; kvHeads: number },
): FieldViolation[] {
  if (!gates.includes('kv-group') || heads !== kvHeads) return [];
  return refused(`has kv-group, but each of the model's ${heads} query heads has a key/value head of its own: gates of heads close both`);
}
