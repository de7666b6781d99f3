// Tests what an export says about its speed.
import { engineV1 } from '#protocol';
import { speedNotes } from './export-speed.js';

const shapes = (hidden: number, heads: number, units: number) => ({
  hiddenSize: BigInt(hidden),
  layers: Array.from({ length: 6 }, () => ({ heads: BigInt(heads), kvHeads: BigInt(heads), intermediate: BigInt(units) })),
});
const advice = (model: ReturnType<typeof shapes>, exported: ReturnType<typeof shapes>, vocabSize = 2048n): boolean => {
  const about = { headDim: 32n, vocabSize, intermediateSize: model.layers[0]!.intermediate };
  const notes = speedNotes('hf', engineV1.ModelDescription.fromPartial({ ...model, ...about }), exported);
  return notes.some((note) => note.includes('--multiple-of 64 evens them out'));
};

test('even widths are advised where they cost little, and not where zeros would take back what pruning gained', () => {
  const large = shapes(4096, 32, 11008);
  expect(advice(large, shapes(4000, 32, 5500), 32_000n)).toBe(true);
  expect(advice(large, shapes(4096, 32, 5504), 32_000n)).toBe(false); // they are even
  const small = shapes(192, 6, 512);
  expect(advice(small, shapes(120, 6, 250))).toBe(false); // 6 heads and 64 have no common multiple below 192
  expect(advice(small, shapes(120, 4, 250))).toBe(true);
  // The model itself is narrower than the multiple.
  expect(advice(shapes(48, 3, 40), shapes(48, 3, 40))).toBe(false);
});
