// Size and speed of what a run comes to, worked out by hand.
import { shapeOf } from '../method/shape-target.js';
import { resultEstimate } from './result-estimate.js';

// Two matrices of embeddings, 100 x 10 each, and projections of 8,000 parameters.
const model = { parameterCount: 10_000, prunableParameterCount: 8_000, hiddenSize: 10, vocabularySize: 100 };

test('half of the projections, and of the embeddings the open hidden units', () => {
  expect(resultEstimate(model, 0.5, 0.8)).toEqual({ parameterCount: 4_000 + 1_600, multiplicationShare: (4_000 + 800) / 9_000 });
  expect(resultEstimate(model, 0)).toEqual({ parameterCount: 10_000, multiplicationShare: 1 });
});

test('shapes follow from the engine, and from how wide the model is', () => {
  expect(shapeOf('free', { hiddenSize: 4096 })).toBeUndefined();
  expect(shapeOf('gguf', { hiddenSize: 4096 })).toEqual({ multipleOf: 32, uniform: false, wholeAttention: false });
  expect(shapeOf('vllm', { hiddenSize: 4096 })).toEqual({ multipleOf: 64, uniform: false, wholeAttention: true });
  expect(shapeOf('uniform', { hiddenSize: 512 })).toEqual({ multipleOf: 32, uniform: true, wholeAttention: false });
});
