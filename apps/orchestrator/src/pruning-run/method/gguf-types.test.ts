// Budgets in the types of GGUF files, against bytes counted tensor by tensor, and what can't be planned.
import { llamaShape } from '../testing.js';
import { budgetsOf } from './budget.js';
import { typeViolations } from './gguf-types.js';
import { costAt, costFrom, type ModelShape } from './model-cost.js';
import { resolveSettings, type RequestedSettings } from './run-settings.js';

/** Heads whose values are half a block of 256, so that an odd number of them fills none. */
const dimensions = { layers: 8, heads: 4, kvHeads: 4, units: 2048, hiddenSize: 512, headDim: 128, vocabularySize: 2048 };
const model: ModelShape = { ...llamaShape(dimensions, false), ggufHeaderBytes: 70_000 };
const cost = (budgetDtype: string, of = model) =>
  costFrom(budgetsOf(resolveSettings({ targetBytes: 1, budgetDtype, shapeTarget: 'vllm' }), of)[0]!.cost);

/** Bytes of blocks of 256 values. */
const K = { q3: 110, q4: 144, q5: 176, q6: 210, q5_0: 8 * 22, q8_0: 8 * 34 };
/** All layers alike, as llama.cpp's quantizer wrote such files. */
function counted(
  type: 'q4_k_s' | 'q6_k' | 'q8_0' | 'q3_k_m',
  { heads, units, hidden }: Record<'heads' | 'units' | 'hidden', number>,
): number {
  const bytes = (rows: number, columns: number, block: number): number => (rows * columns * block) / 256;
  const usual = { q4_k_s: K.q4, q6_k: K.q6, q8_0: K.q8_0, q3_k_m: K.q3 }[type];
  const ofOutput = type === 'q3_k_m' ? K.q4 : usual;
  const odd = { q4_k_s: K.q5_0, q6_k: K.q8_0, q8_0: K.q8_0, q3_k_m: K.q5_0 }[type];
  const values = (layer: number): number =>
    type === 'q4_k_s' ? (layer < 4 ? K.q5 : K.q4) : type === 'q3_k_m' ? (layer < 2 ? K.q5 : K.q4) : usual;
  const down = (layer: number): number => (type === 'q4_k_s' ? (layer < 1 ? K.q5 : K.q4) : type === 'q3_k_m' ? K.q4 : usual);
  const width = heads * 128;
  let sum = 70_000 + 17 * hidden * 4 + bytes(2048, hidden, usual) + bytes(2048, hidden, type === 'q8_0' ? K.q8_0 : K.q6);
  for (let layer = 0; layer < 8; layer++)
    sum +=
      2 * bytes(width, hidden, usual) +
      bytes(width, hidden, values(layer)) +
      bytes(hidden, width, width % 256 === 0 ? ofOutput : odd) +
      2 * bytes(units, hidden, usual) +
      bytes(hidden, units, down(layer));
  return sum;
}

it.each(['q8_0', 'q3_k_m', 'q4_k_s', 'q6_k'] as const)('the cost in %s is what the tensors of the file take', (type) => {
  for (const left of [
    { heads: 4, units: 2048, hidden: 512 },
    { heads: 4, units: 768, hidden: 256 },
    { heads: 4, units: 256, hidden: 512 },
  ]) {
    const { heads, units, hidden } = left;
    const open = { layers: 8, heads: 8 * heads, kv: 8 * heads, units: 8 * units, hiddenShare: hidden / 512 };
    expect(costAt(cost(type), open) / counted(type, left)).toBeCloseTo(1, 9);
  }
});

it('heads whose rows are not whole blocks cost what they do on average', () => {
  const settings = { targetBytes: 1, budgetDtype: 'q6_k', shapeTarget: 'gguf' } as const;
  const planned = costFrom(budgetsOf(resolveSettings(settings), model)[0]!.cost);
  // Rows of one head and of three are stored in Q8_0.
  const layers = [1, 2, 3, 4].map((heads) => counted('q6_k', { heads, units: 2048, hidden: 512 }));
  const mean = layers.reduce((sum, bytes) => sum + bytes, 0) / layers.length;
  expect(costAt(planned, { layers: 8, heads: 8 * 2.5, kv: 8 * 2.5, units: 8 * 2048, hiddenShare: 1 }) / mean).toBeCloseTo(1, 9);
});

it('the cache is counted beside the file, at two bytes an entry', () => {
  const settings = { targetBytes: 1, budgetDtype: 'q8_0', budgetContext: 100, budgetBatch: 3 };
  const withCache = budgetsOf(resolveSettings(settings), model)[0]!.intact;
  expect(withCache - budgetsOf(resolveSettings({ ...settings, budgetContext: 0 }), model)[0]!.intact).toBe(8 * 4 * 2 * 128 * 100 * 3 * 2);
});

describe('what can not be planned is refused by name', () => {
  const refused = (asked: RequestedSettings, change: Partial<ModelShape> = {}) => {
    const settings = resolveSettings({ targetBytes: 1e6, budgetDtype: 'q8_0', shapeTarget: 'gguf', ...asked });
    const [first, ...more] = typeViolations(settings, { ...model, ...change }, settings.recipe === 'wanda');
    expect(more).toEqual([]);
    return first && `${first.field}: ${first.description}`;
  };

  it.each<[string, RequestedSettings, Partial<ModelShape>, string]>([
    ['a type whose layers differ', { budgetDtype: 'q4_k_m' }, {}, 'settings.budget_dtype: .* more bits than others: q4_k_s can'],
    ['masks without shapes', { shapeTarget: 'free' }, {}, 'settings.shape_target: must be gguf, .* --for gguf'],
    ['pruning at once', { recipe: 'wanda' }, {}, 'settings.budget_dtype: .* with recipe wanda'],
    ['groups that zeros fill up', {}, { kvHeads: 2 }, 'kv-group among the gates'],
    ['layers that have to be alike', {}, { architecture: 'Qwen3ForCausalLM' }, 'settings.shape_target: must be uniform'],
    ['heads that zeros fill up', { shapeTarget: 'uniform' }, { architecture: 'Olmo2ForCausalLM' }, 'Olmo2ForCausalLM'],
    ['a narrow model', { budgetDtype: 'q6_k' }, { hiddenSize: 192 }, '192 hidden units are not whole blocks of 256 values'],
    ['small heads', {}, { headDim: 16, heads: 32, kvHeads: 32 }, 'heads of 16 values are not whole blocks of 32'],
    ['odd units', {}, { units: 1000 }, '1000 intermediate units are not whole blocks of 32 values'],
  ])('%s', (_, asked, change, words) => {
    expect(refused(asked, change)).toMatch(new RegExp(words));
  });

  it('and all else is taken', () => {
    expect(refused({})).toBeUndefined();
    expect(refused({ budgetDtype: 'q4_k_s' })).toBeUndefined();
    expect(refused({ shapeTarget: 'uniform', gates: ['head', 'unit', 'hidden', 'kv-group'] }, { kvHeads: 2 })).toBeUndefined();
    expect(refused({ shapeTarget: 'vllm' }, { headDim: 16, heads: 32, kvHeads: 8 })).toBeUndefined();
    expect(refused({ shapeTarget: 'free', budgetDtype: 'bf16' })).toBeUndefined();
    expect(refused({ shapeTarget: 'free', targetBytes: 0 })).toBeUndefined();
  });
});
