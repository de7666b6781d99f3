// Tables of measured seconds by width (docs/speed-tables.md), and the cost of a model that follows from one.
import type { Cost, Curve, PartCosts } from './model-cost.js';

/** A measured time. `width` is absent for parts that have no width, and `hidden` where all hidden units were open. */
export interface Time {
  width?: number;
  hidden?: number | undefined;
  seconds: number;
  spread: number;
}
export type TimeByWidth = Time & { width: number };

export interface SpeedTable {
  device: string;
  dtype: string;
  batch: number;
  context: number;
  phase: 'prefill' | 'decode';
  /** The measured time of one whole pass of the intact model. */
  pass?: { seconds: number; spread: number } | undefined;
  model: {
    layers: number;
    heads: number;
    kv_heads: number;
    head_dim: number;
    units: number;
    hidden_size: number;
    vocabulary_size: number;
  };
  /** The times of one layer, down to `layer`. `fixed` is the time of all that is outside the layers. */
  by_heads: { q: TimeByWidth[]; attention: TimeByWidth[]; o: TimeByWidth[] };
  by_kv_heads: { kv: TimeByWidth[] };
  by_units: { gate_up: TimeByWidth[]; down: TimeByWidth[] };
  layer: { attention: Time[]; mlp: Time[] };
  fixed: Time[];
}

export const atHidden = <T extends Time>(times: readonly T[], { model }: SpeedTable): T[] =>
  times.filter((time) => (time.hidden ?? model.hidden_size) === model.hidden_size);

/** The seconds at a width, on straight lines between the measured points and from zero seconds at width 0. `times` rise in width. */
function secondsAt(times: readonly TimeByWidth[], width: number): number {
  const high = times.find((time) => time.width >= width) ?? times[0];
  if (high === undefined) return 0;
  const low = times.findLast((time) => time.width < high.width) ?? { width: 0, seconds: 0 };
  return low.seconds + ((high.seconds - low.seconds) * (width - low.width)) / (high.width - low.width);
}

/**
 * Returns times that rise with the width. Neighbours that fall are replaced by their mean, and equal times by one point, so that every gate
 * that closes saves something.
 */
function rising(points: { width: number; seconds: number }[]): { width: number; seconds: number }[] {
  const blocks: { width: number; seconds: number; count: number; last: number }[] = [];
  for (const point of points) {
    let block = { ...point, count: 1, last: point.width };
    for (let low = blocks.at(-1); low !== undefined && low.seconds >= block.seconds; low = blocks.at(-1)) {
      const count = low.count + block.count;
      const mean = (left: number, right: number): number => (left * low.count + right * block.count) / count;
      block = { width: mean(low.width, block.width), seconds: mean(low.seconds, block.seconds), count, last: block.last };
      blocks.pop();
    }
    blocks.push(block);
  }
  return blocks.map((block, index) => ({ width: index === blocks.length - 1 ? block.last : block.width, seconds: block.seconds }));
}

/**
 * The share of a time that shrinks with the hidden units, by the times that were measured with fewer of them at the full width. `otherwise`
 * is the share where no such time was measured.
 */
function wideShare(times: readonly Time[], table: SpeedTable, otherwise: number): number {
  const { hidden_size: all } = table.model;
  const [full] = atHidden(times, table).sort((left, right) => (right.width ?? 0) - (left.width ?? 0));
  if (full === undefined || full.seconds === 0) return otherwise;
  const shares = times.flatMap(({ width, hidden = all, seconds }) =>
    hidden < all && width === full.width ? [(1 - seconds / full.seconds) / (1 - hidden / all)] : [],
  );
  if (shares.length === 0) return otherwise;
  return Math.min(1, Math.max(0, shares.reduce((sum, share) => sum + share, 0) / shares.length));
}

/** The smallest share of a pass that a kind of part costs. It is above 0, so that no division by a cost fails. */
const LEAST_SHARE = 1e-6;

interface Part {
  times: readonly TimeByWidth[];
  wideOtherwise: number;
}
interface Kind {
  wide: number;
  alone: number;
  curve: Curve;
}

/** The cost of parts that grow with one width, such as all products of a layer's heads. */
function kindOf(parts: Part[], rest: readonly Time[], full: number, table: SpeedTable): Kind {
  const measured = parts.map(({ times, wideOtherwise }) => ({
    times: atHidden(times, table).sort((left, right) => left.width - right.width),
    wide: wideShare(times, table, wideOtherwise),
  }));
  const widths = [...new Set(measured.flatMap(({ times }) => times.map(({ width }) => width)))].sort((left, right) => left - right);
  const [block] = atHidden(rest, table);
  const isFree = (block?.seconds ?? 0) + measured.reduce((sum, { times }) => sum + secondsAt(times, full), 0) === 0;
  const least = isFree ? LEAST_SHARE * passSeconds(table) : 0;
  const points = widths.map((width) => ({
    width,
    seconds: (block?.seconds ?? 0) + measured.reduce((sum, { times }) => sum + secondsAt(times, width), 0) + (least * width) / full,
  }));
  const curve = rising(points);
  const all = Math.max(...curve.map(({ seconds }) => seconds));
  const ends = measured.map(({ times, wide }) => secondsAt(times, full) * wide);
  const wideAll = Math.min(all, ends.reduce((sum, one) => sum + one, 0) + (block?.seconds ?? 0) * wideShare(rest, table, 1));
  return {
    wide: wideAll / full,
    alone: (all - wideAll) / full,
    curve: curve.map(({ width, seconds: value }) => ({ width, parts: (value / all) * full })),
  };
}

/** The seconds of one pass of the intact model, as the sum over its parts. */
export function passSeconds(table: SpeedTable): number {
  const { model, by_heads: byHeads, by_kv_heads: byKv, by_units: byUnits, layer, fixed } = table;
  const parts = [byHeads.q, byHeads.attention, byHeads.o, byKv.kv, byUnits.gate_up, byUnits.down, layer.attention, layer.mlp];
  return model.layers * parts.reduce((sum, times) => sum + fullSeconds(times, table), 0) + fullSeconds(fixed, table);
}

const fullSeconds = (times: readonly Time[], table: SpeedTable): number =>
  atHidden(times, table).reduce((last, time) => ((time.width ?? 0) >= (last.width ?? 0) ? time : last)).seconds;

export function secondsCost(table: SpeedTable): Cost {
  const { model, by_heads: byHeads, by_kv_heads: byKv, by_units: byUnits, layer, fixed } = table;
  const product = (times: readonly TimeByWidth[]): Part => ({ times, wideOtherwise: 1 });
  const heads = kindOf(
    [product(byHeads.q), product(byHeads.o), { times: byHeads.attention, wideOtherwise: 0 }],
    layer.attention,
    model.heads,
    table,
  );
  const kv = kindOf([product(byKv.kv)], [], model.kv_heads, table);
  const units = kindOf([product(byUnits.gate_up), product(byUnits.down)], layer.mlp, model.units, table);
  const rest = fullSeconds(fixed, table);
  const restWide = rest * wideShare(fixed, table, 1);
  const of = (name: 'wide' | 'alone', others: number): PartCosts => ({ head: heads[name], unit: units[name], kv: kv[name], rest: others });
  return {
    wide: of('wide', restWide),
    alone: of('alone', rest - restWide),
    curves: { head: heads.curve, unit: units.curve, kv: kv.curve },
  };
}
