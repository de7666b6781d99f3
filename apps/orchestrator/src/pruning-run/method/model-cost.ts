// The costs of the parts of a model. This is the one place that counts them in parameters, bytes and multiply-adds
// (docs/design/sparsity.md). Costs in seconds are measured (speed-table.ts).
import type { RunSettings } from '../record/pruning-run.events.js';
import { NO_BLOCK_GATES, type BlockGates } from './gates.js';
import { bytesEach, typeInBlocks, type BytesEach } from './gguf-types.js';

/** The gates of a model whose layers are all alike. */
export interface Gates {
  layers: number;
  heads: number; // in one layer, like kvHeads and units
  kvHeads: number;
  units: number;
}

/** projection: queries, keys, gate and up. norm: of hidden units. vector: any other; it alone does not shrink with the hidden units. */
export const TENSOR_KINDS = ['embedding', 'lm_head', 'projection', 'value', 'output', 'down', 'norm', 'vector'] as const;

/** The parameters of all tensors of one kind that shrink with the same gates, as the engine counts them. */
export interface TensorCount {
  kind: (typeof TENSOR_KINDS)[number];
  part: keyof PartCosts;
  parameters: number;
  bytes: number;
}

/** The shape of a model, as the engine describes it. */
export interface ModelShape extends Gates {
  hiddenSize: number;
  headDim: number;
  vocabularySize: number;
  tensors: readonly TensorCount[];
  architecture: string;
  /** Bytes of a GGUF file beside its tensors; 0 where it was not asked for. */
  ggufHeaderBytes: number;
}

/** The cost of one part of each kind, and of the rest of the model. A key/value head counts where a query head that reads it is open. */
export interface PartCosts {
  head: number;
  unit: number;
  kv: number;
  rest: number;
}

/**
 * How the cost of one kind of part grows in a layer: a layer with `width` open parts costs as much as `parts` parts of an intact layer.
 * Between the points, and from zero to the first, the curve is a straight line. The last point is that of the intact layer.
 */
export type Curve = readonly { width: number; parts: number }[];

export interface Cost {
  /** The cost with all hidden units. It shrinks in proportion to the open hidden units. */
  wide: PartCosts;
  /** The cost that does not depend on the number of open hidden units. */
  alone: PartCosts;
  /** Absent where every part costs the same, however many are open. */
  curves?: { head: Curve; unit: Curve; kv: Curve };
}

export interface OpenGates {
  layers: number; // the number of layers, all alike
  heads: number;
  units: number;
  kv: number;
  hiddenShare: number;
}

/** The bytes of one entry of the cache of keys and values, which engines keep in f16. */
const CACHE_ENTRY_BYTES = 2;
/** The bytes of a norm's parameter in an export. Norms of hidden units are stored in f32, since a narrower type would lose bits. */
const NORM_BYTES = 4;

const NONE: PartCosts = { head: 0, unit: 0, kv: 0, rest: 0 };

/** The number of open gates where all heads and units are closed and all hidden units are open. */
export const WITHOUT_PARTS: OpenGates = { layers: 1, heads: 0, units: 0, kv: 0, hiddenShare: 1 };

/** The heads and units that a layer keeps. */
export interface KeptParts {
  heads: number;
  units: number;
}

/** The open gates of layers that keep these parts. A curve of a cost is for layers that are alike, so give it one layer. */
export function openOf(kept: readonly KeptParts[], { heads: all, kvHeads }: Gates): OpenGates {
  const heads = kept.reduce((sum, layer) => sum + layer.heads, 0);
  const units = kept.reduce((sum, layer) => sum + layer.units, 0);
  return { layers: kept.length, heads, units, kv: heads / (all / kvHeads), hiddenShare: 1 };
}

/** The expected number of open gates where every gate is open with this probability. A head or unit also needs the gates of its blocks. */
export function gatesAt({ layers, heads, kvHeads, units }: Gates, open: number, blocks: BlockGates = NO_BLOCK_GATES): OpenGates {
  const read = 1 - (1 - open) ** (heads / kvHeads);
  const attention = (blocks.kvGroup ? open : 1) * (blocks.attention ? open : 1);
  return {
    layers,
    heads: layers * heads * open * attention,
    units: layers * units * open * (blocks.mlp ? open : 1),
    kv: layers * kvHeads * read * attention,
    hiddenShare: open,
  };
}

const sum = ({ head, unit, kv, rest }: PartCosts, open: OpenGates): number => head * open.heads + unit * open.units + kv * open.kv + rest;

function partsAt(curve: Curve, width: number): number {
  const point = curve.find((one) => one.width >= width) ?? curve.at(-1);
  if (point === undefined) return 0;
  const low = curve[curve.indexOf(point) - 1] ?? { width: 0, parts: 0 };
  return point.parts - ((point.width - width) * (point.parts - low.parts)) / (point.width - low.width);
}

function counted({ curves }: Cost, open: OpenGates): OpenGates {
  if (curves === undefined) return open;
  const by = (curve: Curve, all: number): number => (curve.length === 0 ? all : open.layers * partsAt(curve, all / open.layers));
  return { ...open, heads: by(curves.head, open.heads), units: by(curves.unit, open.units), kv: by(curves.kv, open.kv) };
}

export function costAt(cost: Cost, gates: OpenGates): number {
  const open = counted(cost, gates);
  return sum(cost.wide, open) * open.hiddenShare + sum(cost.alone, open);
}
export const intactCost = (cost: Cost, gates: Gates): number => costAt(cost, gatesAt(gates, 1));

/** The numbers of a cost in the order that the engine expects. A curve is the number of its points, then width and parts of each. */
export function numbersOf({ wide, alone, curves }: Cost): number[] {
  const numbers = [wide, alone].flatMap(({ head, unit, kv, rest }) => [head, unit, kv, rest]);
  if (curves === undefined) return numbers;
  const kinds = [curves.head, curves.unit, curves.kv];
  return [...numbers, ...kinds.flatMap((curve) => [curve.length, ...curve.flatMap(({ width, parts }) => [width, parts])])];
}

/** The index at which curves begin; the costs of parts come before. */
const CURVES_BEGIN = 8;

function curvesFrom(numbers: readonly number[]): NonNullable<Cost['curves']> {
  let from = CURVES_BEGIN;
  const next = (): Curve => {
    const count = numbers[from] ?? 0;
    const first = from + 1;
    from = first + 2 * count;
    return Array.from({ length: count }, (_, index) => ({ width: numbers[first + 2 * index]!, parts: numbers[first + 2 * index + 1]! }));
  };
  return { head: next(), unit: next(), kv: next() };
}

export function costFrom(numbers: readonly number[]): Cost {
  const parts = (first: number): PartCosts => {
    const [head = 0, unit = 0, kv = 0, rest = 0] = numbers.slice(first);
    return { head, unit, kv, rest };
  };
  return { wide: parts(0), alone: parts(4), ...(numbers.length > CURVES_BEGIN ? { curves: curvesFrom(numbers) } : {}) };
}

const inProportion = ({ kind }: TensorCount): boolean => kind !== 'vector';

/**
 * Adds up what the tensors of a model cost.
 * @param each what a parameter of these tensors costs
 */
function tensorCost(model: ModelShape, each: (tensors: TensorCount) => number): Cost {
  const { layers } = model;
  const gates: PartCosts = { head: layers * model.heads, unit: layers * model.units, kv: layers * model.kvHeads, rest: 1 };
  const cost = { wide: { ...NONE }, alone: { ...NONE } };
  for (const tensors of model.tensors) {
    const { part, parameters } = tensors;
    cost[inProportion(tensors) ? 'wide' : 'alone'][part] += (parameters / gates[part]) * each(tensors);
  }
  return cost;
}

export const parameterCost = (model: ModelShape): Cost => tensorCost(model, () => 1);

/**
 * The cost that a target sparsity is a share of. It excludes embeddings. Where queries share keys and values, these stay, unless gates of
 * blocks take them away.
 */
export function prunableCost({ hiddenSize, headDim, heads, kvHeads, layers }: ModelShape, blocks: BlockGates): Cost {
  const projections = 2 * headDim * hiddenSize;
  if (heads === kvHeads) return { wide: { head: 2 * projections, unit: 3 * hiddenSize, kv: 0, rest: 0 }, alone: NONE };
  const go = blocks.kvGroup || blocks.attention;
  return {
    wide: { head: projections, unit: 3 * hiddenSize, kv: go ? projections : 0, rest: 0 },
    alone: { ...NONE, rest: go ? 0 : layers * kvHeads * projections },
  };
}

type BytesOf = Pick<RunSettings, 'targetBytes' | 'budgetContext' | 'budgetBatch' | 'budgetDtype' | 'shapeTarget'>;

/** The bytes of the exported weights, and of the cache of keys and values for `budgetBatch` sequences of `budgetContext` positions. */
export function byteCost(model: ModelShape, settings: BytesOf): Cost {
  const { wide, alone } = weightBytes(model, settings);
  return { wide, alone: { ...alone, kv: alone.kv + cacheBytes(model, settings) } };
}

/** The bytes of the cache of one key/value head. */
export const cacheBytes = ({ headDim }: ModelShape, { budgetContext, budgetBatch }: BytesOf): number =>
  2 * headDim * budgetContext * budgetBatch * CACHE_ENTRY_BYTES;

function weightBytes(model: ModelShape, settings: BytesOf): Cost {
  const inBlocks = typeInBlocks(settings);
  if (inBlocks !== null) return blockCost(model, bytesEach(inBlocks, model, settings.shapeTarget === 'vllm'));
  const ofType = settings.budgetDtype === 'model' ? undefined : settings.budgetDtype === 'f32' ? 4 : 2;
  return tensorCost(model, ({ kind, parameters, bytes }) => (kind === 'norm' ? NORM_BYTES : (ofType ?? bytes / parameters)));
}

/** The bytes of a GGUF file in a type of blocks. Vectors are in f32 there. */
function blockCost(model: ModelShape, each: BytesEach): Cost {
  const bytes: Record<TensorCount['kind'], number> = {
    embedding: each.embedding,
    lm_head: each.head,
    projection: each.usual,
    value: each.values,
    output: each.output,
    down: each.down,
    norm: NORM_BYTES,
    vector: NORM_BYTES,
  };
  const { wide, alone } = tensorCost(model, ({ kind }) => bytes[kind]);
  return { wide, alone: { ...alone, rest: alone.rest + model.ggufHeaderBytes } };
}

/** The multiply-adds of one token: all matrices but the embedding, and the attention to `budgetContext` positions. */
export function multiplyAddCost(model: ModelShape, { budgetContext }: Pick<BytesOf, 'budgetContext'>): Cost {
  const { wide } = tensorCost(model, ({ kind }) => (kind === 'embedding' || kind === 'norm' ? 0 : 1));
  return { wide, alone: { ...NONE, head: 2 * model.headDim * budgetContext } };
}
