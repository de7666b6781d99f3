import { conditionsIn } from './conditions.js';

test.each([
  ['', []],
  ['perplexity<6, recipe=lm', ['perplexity<6', 'recipe=lm']],
  ['lora_targets=q_proj,k_proj, boolq acc>=0.6,', ['lora_targets=q_proj,k_proj', 'boolq acc>=0.6']],
  ['seed!=1,step<=20', ['seed!=1', 'step<=20']],
])('%j holds the conditions %j', (text, conditions) => expect(conditionsIn(text)).toEqual(conditions));
