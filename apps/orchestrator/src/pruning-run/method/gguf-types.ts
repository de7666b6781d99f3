// The types of GGUF files in blocks, and how many bytes each tensor takes in them: as the engine stores Q8_0, and as llama.cpp's quantizer
// chooses the others (llama_tensor_get_type).
import { architectureFacts } from '#comparison';
import type { FieldViolation } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';

interface StoredType {
  /** Values of a row that are stored together. */
  block: number;
  bytesEach: number;
}
const stored = (block: number, bytes: number): StoredType => ({ block, bytesEach: bytes / block });
const F16 = stored(1, 2);
const [Q3_K, Q4_K, Q5_K, Q6_K] = [stored(256, 110), stored(256, 144), stored(256, 176), stored(256, 210)];
const [Q8_0, IQ4_NL, Q5_0, Q5_1] = [stored(32, 34), stored(32, 18), stored(32, 22), stored(32, 24)];

/** The block of the types that rows get where they are not whole blocks of 256. */
const SMALL_BLOCK = 32;

interface FileType {
  usual: StoredType;
  /** The type of rows that are not whole blocks of the usual type. */
  otherwise: StoredType;
  /** lm_head, or the embedding where it is that too. */
  head: StoredType;
  output?: StoredType;
  /** By the layer, where some have another type. */
  values?: (layer: number) => StoredType;
  down?: (layer: number, layers: number) => StoredType;
}

const FILE_TYPES: Record<string, FileType> = {
  q8_0: { usual: Q8_0, otherwise: F16, head: Q8_0 },
  q3_k_m: {
    usual: Q3_K,
    otherwise: IQ4_NL,
    head: Q6_K,
    output: Q4_K,
    values: (layer) => (layer < 2 ? Q5_K : Q4_K),
    down: (layer, layers) => (layer < Math.floor(layers / 16) ? Q5_K : Q4_K),
  },
  q4_k_s: {
    usual: Q4_K,
    otherwise: Q5_0,
    head: Q6_K,
    values: (layer) => (layer < 4 ? Q5_K : Q4_K),
    down: (layer, layers) => (layer < Math.floor(layers / 8) ? Q5_K : Q4_K),
  },
  q5_k_s: { usual: Q5_K, otherwise: Q5_1, head: Q6_K },
  q6_k: { usual: Q6_K, otherwise: Q8_0, head: Q6_K },
};
/** llama.cpp gives a third of the layers more bits there. So the bytes depend on which layers the masks keep. */
const UNEVEN_TYPES: Record<string, string> = { q4_k_m: 'q4_k_s', q5_k_m: 'q5_k_s' };

const isInBlocks = (dtype: string): boolean => Object.hasOwn(FILE_TYPES, dtype) || Object.hasOwn(UNEVEN_TYPES, dtype);
type TypeSettings = Pick<RunSettings, 'targetBytes' | 'budgetDtype'>;

/** The type in blocks that target_bytes counts, or null. */
export const typeInBlocks = ({ targetBytes, budgetDtype }: TypeSettings): string | null =>
  targetBytes > 0 && isInBlocks(budgetDtype) ? budgetDtype : null;

/** Widths have to be multiples of it, so that every row is whole blocks. 1: any width will do. */
export function blockOf(settings: TypeSettings): number {
  const type = typeInBlocks(settings);
  return type === null ? 1 : (FILE_TYPES[type]?.usual.block ?? 1);
}

/** Bytes of a value in each kind of matrix, the mean over the layers. */
export interface BytesEach {
  usual: number;
  values: number;
  down: number;
  embedding: number;
  head: number;
  /** The output projection, whose rows are as wide as the heads that are open: they are whole blocks or not. */
  output: number;
}

interface AttentionShape {
  layers: number;
  heads: number;
  headDim: number;
}

/** @param wholeAttention a layer has all its heads or none */
export function bytesEach(dtype: string, { layers, heads, headDim }: AttentionShape, wholeAttention: boolean): BytesEach {
  const { usual, otherwise, head, output = usual, values = () => usual, down = () => usual } = FILE_TYPES[dtype]!;
  const mean = (of: (layer: number) => StoredType): number =>
    Array.from({ length: layers }, (_, layer) => of(layer).bytesEach).reduce((sum, each) => sum + each, 0) / layers;
  const inWidth = (width: number): number =>
    [output, output === Q4_K ? Q5_0 : otherwise, F16].find(({ block }) => width % block === 0)!.bytesEach;
  const widths = wholeAttention ? [heads] : Array.from({ length: heads }, (_, index) => index + 1);
  const all = widths.reduce((sum, width) => sum + width, 0);
  return {
    usual: usual.bytesEach,
    values: mean(values),
    down: mean((layer) => down(layer, layers)),
    embedding: usual.bytesEach,
    head: head.bytesEach,
    output: widths.reduce((sum, width) => sum + width * inWidth(width * headDim), 0) / all,
  };
}

interface Shape {
  architecture: string;
  heads: number;
  kvHeads: number;
  units: number;
  hiddenSize: number;
  headDim: number;
}
type TypeRequest = TypeSettings & Pick<RunSettings, 'recipe' | 'shapeTarget' | 'gates'>;

/** The reason why a file of this type can't be planned: its size would not follow from the masks alone. */
export function typeViolations(settings: TypeRequest, model: Shape, prunesAtOnce: boolean): FieldViolation[] {
  const type = typeInBlocks(settings);
  if (type === null) return [];
  const refused = (field: string, description: string, code = 'FIELD_OUT_OF_RANGE'): FieldViolation[] => [
    { field: `settings.${field}`, description, code },
  ];
  const instead = UNEVEN_TYPES[type];
  if (instead !== undefined)
    return refused('budget_dtype', `can't be planned as ${type}, which gives some layers more bits than others: ${instead} can`);
  if (prunesAtOnce)
    return refused(
      'budget_dtype',
      `must be model, f32, f16 or bf16 with recipe ${settings.recipe}, is ${type}: only masks that are learned are held to its blocks`,
    );
  const { shapeTarget } = settings;
  if (shapeTarget === 'free')
    return refused('shape_target', `must be gguf, uniform or vllm with budget_dtype ${type}, whose rows are whole blocks: --for gguf`);
  const { alikeInGguf, filledUpInGguf } = architectureFacts(model.architecture);
  if (filledUpInGguf)
    return refused('budget_dtype', `can't be planned as ${type} for ${model.architecture}: zeros fill its heads up in GGUF`);
  if (alikeInGguf && shapeTarget !== 'uniform')
    return refused('shape_target', `must be uniform with budget_dtype ${type}: layers of ${model.architecture} are alike in GGUF`);
  const isUneven = shapeTarget === 'gguf' || (shapeTarget === 'uniform' && !settings.gates.includes('kv-group'));
  if (model.heads !== model.kvHeads && isUneven)
    return refused(
      'budget_dtype',
      `can't be planned as ${type} where query heads share keys and values and zeros fill up uneven groups in GGUF: ` +
        'shape_target uniform with kv-group among the gates, or shape_target vllm, keeps groups even',
    );
  if (shapeTarget !== 'vllm' && model.headDim % SMALL_BLOCK !== 0)
    return refused(
      'budget_dtype',
      `can't be planned as ${type}: heads of ${model.headDim} values are not whole blocks of ${SMALL_BLOCK}, so the type of output ` +
        'projections depends on their number; shape_target vllm keeps all heads of a layer or none',
    );
  const block = blockOf(settings);
  for (const [name, width] of [
    ['hidden units', model.hiddenSize],
    ['intermediate units', model.units],
  ] as const)
    if (width % block !== 0)
      return refused('budget_dtype', `can't be planned as ${type}: the model's ${width} ${name} are not whole blocks of ${block} values`);
  return [];
}
