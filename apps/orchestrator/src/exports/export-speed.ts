// Notes about an export's speed, as far as its shapes alone can tell.
import type { engineV1 } from '#protocol';
import type { ExportFormat } from './export-formats.js';

/** Above this share of the dense model's multiplications, users notice no gain in speed. */
const HARDLY_FEWER = 0.95;
/** A multiple of this width suits the matrix units of GPUs. */
const EVEN_WIDTH = 64n;
/** Even widths gain nothing where they make a token take many more multiplications. */
const MOST_GROWTH = 1.1;

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
  const evened = multiplications(evenWidths(format, model, exported), headDim, vocabSize);
  const now = multiplications(exported, headDim, vocabSize);
  if ((format === 'hf' || format === 'vllm') && evened > now && evened <= MOST_GROWTH * now) {
    notes.push(`Some widths are not multiples of ${EVEN_WIDTH}, which GPUs run slowly: --multiple-of ${EVEN_WIDTH} evens them out.`);
  }
  return notes;
}

/** The shapes of the export with --multiple-of. No width becomes larger than the model's. */
function evenWidths(format: ExportFormat, model: engineV1.ModelDescription, { hiddenSize, layers }: Shapes): Shapes {
  const up = (width: bigint, multiple: bigint, most: bigint): bigint => {
    const evened = ((width + multiple - 1n) / multiple) * multiple;
    return evened > most ? (width > most ? width : most) : evened;
  };
  // transformers asks for a hidden size that the number of heads divides.
  const heads = format === 'hf' ? (layers[0]?.heads ?? 1n) : 1n;
  const ofHidden = (EVEN_WIDTH / divisorOf(EVEN_WIDTH, heads)) * heads;
  return {
    hiddenSize: up(hiddenSize, ofHidden, model.hiddenSize),
    layers: layers.map((layer) => ({ ...layer, intermediate: up(layer.intermediate, EVEN_WIDTH, model.intermediateSize) })),
  };
}

const divisorOf = (left: bigint, right: bigint): bigint => (right === 0n ? left : divisorOf(right, left % right));
