// Notes about an export's speed, as far as its shapes alone can tell.
import type { engineV1 } from '#protocol';
import type { ExportFormat } from './export-formats.js';

/** Above this share of the dense model's multiplications, users notice no gain in speed. */
const HARDLY_FEWER = 0.95;
/** A multiple of this width suits the matrix units of GPUs. */
const EVEN_WIDTH = 64;

type Shapes = Pick<engineV1.ModelDescription, 'hiddenSize' | 'layers'>;

/** The multiplications of a token with weights. Those of attention with earlier tokens are not counted. */
function multiplications({ hiddenSize, layers }: Shapes, headDim: bigint, vocabSize: bigint): number {
  const weights = layers.map(({ heads, kvHeads, intermediate }) => 2n * (heads + kvHeads) * headDim + 3n * intermediate);
  return Number(hiddenSize * (weights.reduce((sum, one) => sum + one, 0n) + vocabSize));
}

export function speedNotes(format: ExportFormat, model: engineV1.ModelDescription, exported: Shapes): string[] {
  const { headDim, vocabSize } = model;
  const share = multiplications(exported, headDim, vocabSize) / multiplications(model, headDim, vocabSize);
  const notes = [
    share > HARDLY_FEWER
      ? `A token takes ${(share * 100).toFixed(0)}% of the dense model's multiplications: this will not be quicker than the dense model.`
      : `A token takes ${(share * 100).toFixed(0)}% of the dense model's multiplications.`,
  ];
  const [first] = exported.layers;
  const uneven = exported.layers.some((one) => one.heads !== first?.heads || one.intermediate !== first.intermediate);
  if (uneven && format !== 'hf') {
    notes.push('Its layers differ in width. Engines made for even layers may gain little by that: measure, or take the format hf.');
  }
  const widths = [exported.hiddenSize, ...exported.layers.map(({ intermediate }) => intermediate)];
  if ((format === 'hf' || format === 'vllm') && widths.some((width) => width % BigInt(EVEN_WIDTH) !== 0n)) {
    notes.push(`Some widths are not multiples of ${EVEN_WIDTH}, which GPUs run slowly: --multiple-of ${EVEN_WIDTH} evens them out.`);
  }
  return notes;
}
