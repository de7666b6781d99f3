// The table of the cards that a plan can be made for on a machine without the card. The numbers are the peaks that the makers publish,
// without sparsity.
import { invalidField } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';

export interface Card {
  /** The memory that the maker names, in units of 10^9 bytes. A card usually has a little more. */
  memoryBytes: number;
  /** The FLOPs per second of matrix products: of bf16 with sums in f32, and of f32. */
  flops: Record<RunSettings['computeDtype'], number>;
  /** The speed of the bus from the machine's memory to the card, in one direction. */
  busBytesPerSecond: number;
}

export interface NamedCard {
  name: string;
  figures: Card;
}

const GB = 1e9;
const T = 1e12;
const PCIE4 = 32 * GB;
const PCIE5 = 64 * GB;

const cards: Record<string, Card> = {
  'a10-24gb': { memoryBytes: 24 * GB, flops: { bf16: 125 * T, f32: 31.2 * T }, busBytesPerSecond: PCIE4 },
  'a100-40gb': { memoryBytes: 40 * GB, flops: { bf16: 312 * T, f32: 19.5 * T }, busBytesPerSecond: PCIE4 },
  'a100-80gb': { memoryBytes: 80 * GB, flops: { bf16: 312 * T, f32: 19.5 * T }, busBytesPerSecond: PCIE4 },
  'h100-80gb': { memoryBytes: 80 * GB, flops: { bf16: 989 * T, f32: 67 * T }, busBytesPerSecond: PCIE5 }, // the SXM variant
  'h100-pcie-80gb': { memoryBytes: 80 * GB, flops: { bf16: 756 * T, f32: 51 * T }, busBytesPerSecond: PCIE5 },
  'h200-141gb': { memoryBytes: 141 * GB, flops: { bf16: 989 * T, f32: 67 * T }, busBytesPerSecond: PCIE5 },
  'l40s-48gb': { memoryBytes: 48 * GB, flops: { bf16: 362 * T, f32: 91.6 * T }, busBytesPerSecond: PCIE4 },
  'rtx3090-24gb': { memoryBytes: 24 * GB, flops: { bf16: 71 * T, f32: 35.6 * T }, busBytesPerSecond: PCIE4 },
  'rtx4090-24gb': { memoryBytes: 24 * GB, flops: { bf16: 165 * T, f32: 82.6 * T }, busBytesPerSecond: PCIE4 },
};

/** @throws EspalierError FIELD_UNKNOWN_VALUE */
export function cardNamed(name: string): Card {
  const card = Object.hasOwn(cards, name) ? cards[name] : undefined;
  if (card !== undefined) return card;
  throw invalidField('FIELD_UNKNOWN_VALUE', 'for_device', `must be one of ${Object.keys(cards).join(', ')}, is "${name}"`);
}
