// The file of a speed table (docs/speed-tables.md): reads it, checks it, and writes it from an engine's measurements.
import { z } from 'zod';
import { EspalierError } from '#protocol';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import { atHidden, passSeconds, type SpeedTable, type TimeByWidth } from '../pruning-run/method/speed-table.js';

const SCHEMA = 'espalier-speed-table';
const VERSION = 1;

const seconds = z.number().nonnegative();
const spread = z.number().nonnegative().default(0);
const whole = z.number().int().positive();
/** The number of hidden units for a time. Times at several numbers show which part of a time follows the hidden units. */
const hidden = whole.optional();
const fixedTimes = z.array(z.strictObject({ hidden, seconds, spread })).min(1);
const timesByWidth = z.array(z.strictObject({ width: whole, hidden, seconds, spread })).min(1);

const schema = z.strictObject({
  schema: z.literal(SCHEMA),
  version: z.literal(VERSION),
  device: z.string().min(1),
  instruction_set: z.string().default(''),
  threads: z.number().int().nonnegative().default(0),
  dtype: z.string().min(1),
  batch: whole,
  context: whole,
  phase: z.enum(['prefill', 'decode']),
  rounds: z.number().int().nonnegative().default(0),
  /** The measured time of one whole pass of the intact model. */
  pass: z.strictObject({ seconds, spread }).optional(),
  model: z.strictObject({
    layers: whole,
    heads: whole,
    kv_heads: whole,
    head_dim: whole,
    units: whole,
    hidden_size: whole,
    vocabulary_size: whole,
  }),
  by_heads: z.strictObject({ q: timesByWidth, attention: timesByWidth, o: timesByWidth }),
  by_kv_heads: z.strictObject({ kv: timesByWidth }),
  by_units: z.strictObject({ gate_up: timesByWidth, down: timesByWidth }),
  /** The times of a layer that has attention, or an MLP, of any width. */
  layer: z.strictObject({ attention: fixedTimes, mlp: fixedTimes }),
  fixed: fixedTimes,
});

const refused = (path: string, what: string): EspalierError =>
  new EspalierError('SPEED_TABLE_INVALID', `the speed table is refused: ${path}: ${what}`, {
    violations: [{ field: 'settings.speed_table', description: `${path}: ${what}`, code: 'SPEED_TABLE_INVALID' }],
  });

/**
 * The largest fall from a narrower part to a wider one that is allowed. A wider part may be faster where its width divides better among
 * threads or tiles: on two cores, seven heads took 12% less than six. A larger fall, beyond both spreads, is a mistake of the measurement
 * or of the file if it exceeds PASS_DECREASE_MAX.
 */
const FALL_MAX = 0.3;
/** The share of a pass that a fall, summed over all layers, may have. */
const PASS_DECREASE_MAX = 0.01;
/** Above this share, the spread of the intact model's time would decide whether a run meets its speed. */
const PASS_SPREAD_MAX = 0.25;
/**
 * A fall up to this time is allowed: the starts of threads and kernels, and the pauses between them, vary by as much. All widths of a tiny
 * model take less.
 */
const NOISE_SECONDS = 20e-6;

/** Tells whether the text is a speed table, though a launch may refuse its times. */
export function isSpeedTable(text: string): boolean {
  try {
    return schema.safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
}

/** @throws EspalierError SPEED_TABLE_INVALID with the place in the table */
export function speedTableOf(text: string): SpeedTable {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw refused('the file', `is not JSON: ${(error as Error).message}`);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const [{ path, message } = { path: [], message: 'is no speed table' }] = parsed.error.issues;
    throw refused(path.join('.') || 'the file', message);
  }
  const table = parsed.data;
  const { spread: passSpread } = table.pass ?? { spread: 0 };
  if (passSpread > PASS_SPREAD_MAX)
    throw refused(
      'pass.spread',
      `the time of the intact model varies by ${(passSpread * 100).toFixed(1)}%, and at most ${PASS_SPREAD_MAX * 100}% are ` +
        'allowed: other work took the device, so measure again',
    );
  const { heads, kv_heads: kvHeads, units } = table.model;
  for (const [group, full] of [
    ['by_heads', heads],
    ['by_kv_heads', kvHeads],
    ['by_units', units],
  ] as const)
    for (const [part, times] of Object.entries(table[group])) requireRising(`${group}.${part}`, times, full, table);
  for (const [path, times] of [
    ['fixed', table.fixed],
    ['layer.attention', table.layer.attention],
    ['layer.mlp', table.layer.mlp],
  ] as const)
    if (atHidden(times, table).length === 0) throw refused(path, `has no time with all ${table.model.hidden_size} hidden units`);
  const [rest] = atHidden(table.fixed, table);
  if (!(passSeconds(table) > (rest?.seconds ?? 0))) throw refused('the file', 'no part of a layer takes any time');
  return table;
}

function requireRising(path: string, times: readonly TimeByWidth[], full: number, table: SpeedTable): void {
  const wide = times.find(({ width }) => width > full);
  if (wide !== undefined) throw refused(path, `has width ${wide.width}, but the model's is ${full}`);
  const sorted = atHidden(times, table).sort((left, right) => left.width - right.width);
  const little = Math.max(NOISE_SECONDS, (PASS_DECREASE_MAX * (table.pass?.seconds ?? 0)) / table.model.layers);
  if (sorted.at(-1)?.width !== full) throw refused(path, `lacks the width of the intact model, ${full}`);
  for (const [index, time] of sorted.entries()) {
    if (index > 0 && sorted[index - 1]?.width === time.width) throw refused(path, `has width ${time.width} twice`);
    const slower = sorted.slice(0, index).find((narrow) => {
      const share = Math.max(FALL_MAX, narrow.spread + time.spread);
      return time.seconds < narrow.seconds - Math.max(narrow.seconds * share, little);
    });
    if (slower !== undefined)
      throw refused(
        path,
        `width ${time.width} takes ${time.seconds} s, less than the narrower width ${slower.width} with ${slower.seconds} s: ` +
          'a device is not so uneven, so measure again',
      );
  }
}

/** @throws EspalierError SPEED_TABLE_INVALID */
export function requireTableOf(table: SpeedTable, model: ModelShape): void {
  const { layers, heads, kvHeads, headDim, units, hiddenSize, vocabularySize } = model;
  const shape = {
    layers,
    heads,
    kv_heads: kvHeads,
    head_dim: headDim,
    units,
    hidden_size: hiddenSize,
    vocabulary_size: vocabularySize,
  };
  for (const [name, value] of Object.entries(shape)) {
    const measured = table.model[name as keyof typeof shape];
    if (measured !== value)
      throw refused(`model.${name}`, `is ${measured}, that of the run's model is ${value}: it was measured for another model`);
  }
}

export interface MeasuredTable {
  device: string;
  instructionSet: string;
  threads: number;
  dtype: string;
  rounds: number;
  passSeconds: number;
  passSpread: number;
  times: readonly { part: string; width: bigint; hidden: bigint; seconds: number; spread: number }[];
}

export interface MeasureConditions {
  phase: 'prefill' | 'decode';
  context: number;
  batch: number;
}

/** The text of a table's file. */
export function speedTableText(measured: MeasuredTable, model: ModelShape, { phase, context, batch }: MeasureConditions): string {
  const { device, instructionSet, threads, dtype, rounds, passSeconds: pass, passSpread, times } = measured;
  const of = (name: string) => times.filter(({ part }) => part === name).sort((left, right) => Number(left.width - right.width));
  const figures = (value: number): number => Number(value.toPrecision(6));
  const byWidth = (name: string) =>
    of(name).map((one) => ({
      width: Number(one.width),
      hidden: Number(one.hidden),
      seconds: figures(one.seconds),
      spread: figures(one.spread),
    }));
  const fixedOf = (name: string) =>
    of(name).map((one) => ({ hidden: Number(one.hidden), seconds: figures(one.seconds), spread: figures(one.spread) }));
  const table = {
    schema: SCHEMA,
    version: VERSION,
    device,
    instruction_set: instructionSet,
    threads,
    dtype,
    batch,
    context,
    phase,
    rounds,
    pass: { seconds: figures(pass), spread: figures(passSpread) },
    model: {
      layers: model.layers,
      heads: model.heads,
      kv_heads: model.kvHeads,
      head_dim: model.headDim,
      units: model.units,
      hidden_size: model.hiddenSize,
      vocabulary_size: model.vocabularySize,
    },
    by_heads: { q: byWidth('q'), attention: byWidth('attention'), o: byWidth('o') },
    by_kv_heads: { kv: byWidth('kv') },
    by_units: { gate_up: byWidth('gate_up'), down: byWidth('down') },
    layer: { attention: fixedOf('attention_rest'), mlp: fixedOf('mlp_rest') },
    fixed: fixedOf('fixed'),
  };
  return `${JSON.stringify(table, null, 1)}\n`;
}
