// Compares the size and speed of a run's result with values worked out by hand.
import { shapeOf } from '../method/shape-target.js';
import { decodeSized, encodeSized, estimatedSize, resultSize } from './result-size.js';

// A model with two matrices of embeddings, 100 x 10 each, and projections of 8,000 parameters.
const model = { parameterCount: 10_000, prunableParameterCount: 8_000, weightBytes: 20_000, hiddenSize: 10, vocabularySize: 100 };

test('before there is a state: half of the projections, and of the embeddings the open hidden units', () => {
  expect(estimatedSize(model, 0.5, 0.8)).toEqual({
    parameterCount: 4_000 + 1_600,
    multiplicationShare: (4_000 + 800) / 9_000,
    bytes: 11_200,
    estimated: true,
  });
  expect(estimatedSize(model, 0)).toMatchObject({ parameterCount: 10_000, multiplicationShare: 1, bytes: 20_000 });
});

test('the size of a state is what the engine counted of its export', () => {
  const size = { parameterCount: 5_100, multiplications: 4_500, bytes: 10_200 };
  expect(resultSize(model, { size })).toEqual({
    parameterCount: 5_100,
    multiplicationShare: 0.5,
    bytes: 10_200,
    estimated: false,
  });
  expect(decodeSized(encodeSized({ size }))).toEqual({ size });
});

test('shapes follow from the engine, and from how wide the model is', () => {
  const shape = (
    shapeTarget: 'free' | 'gguf' | 'vllm' | 'uniform',
    hiddenSize: number,
    maskRounding: 'groups' | 'size' = 'size',
    { targetBytes = 0, budgetDtype = 'model' } = {},
  ): unknown => shapeOf({ shapeTarget, maskRounding, targetBytes, budgetDtype }, { hiddenSize });
  expect(shape('free', 4096, 'groups')).toBeUndefined();
  expect(shape('free', 4096)).toEqual({ multipleOf: 1, uniform: false, wholeAttention: false, exactSize: true });
  expect(shape('gguf', 4096)).toEqual({ multipleOf: 32, uniform: false, wholeAttention: false, exactSize: false });
  expect(shape('vllm', 4096)).toEqual({ multipleOf: 64, uniform: false, wholeAttention: true, exactSize: false });
  expect(shape('uniform', 512)).toEqual({ multipleOf: 32, uniform: true, wholeAttention: false, exactSize: false });
  // Rows of these types are stored in larger blocks.
  expect(shape('gguf', 4096, 'size', { targetBytes: 1e9, budgetDtype: 'q4_k_s' })).toMatchObject({ multipleOf: 256 });
  expect(shape('vllm', 4096, 'size', { targetBytes: 1e9, budgetDtype: 'q8_0' })).toMatchObject({ multipleOf: 64 });
});
