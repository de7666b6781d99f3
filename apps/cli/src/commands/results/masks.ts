// The command masks: the open heads and units over time, as maps or as lists.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { bigNumber, positiveNumber, wholeNumber } from '../../options/parse.js';
import { howMany, percent } from '../../output/format.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface MasksOptions {
  step?: bigint;
  layer?: number;
  fromStep?: bigint;
  toStep?: bigint;
  points?: number;
}

/** The columns of a map. Two maps fit beside the numbers. */
const MAP_POINTS = 18;
const LIST_POINTS = 200;
const FINEST = 65_536;

export function registerMasks(program: Command): void {
  const masks = program
    .command('masks')
    .argument(...RUN_ARGUMENT)
    .summary('which heads and units are open, and when each closed')
    .description(
      "Shows how a run's heads, intermediate units and hidden units closed over time: each column of a map is a recorded state, its " +
        'height the share that is open there. --layer lists which ones closed and opened when, --step shows one state.',
    )
    .option('--step <n>', 'the state recorded at this step, or the last one before it', bigNumber)
    .option('--layer <n>', 'of this layer only, with the numbers of its heads and units', wholeNumber)
    .option('--from-step <n>', 'first step', bigNumber)
    .option('--to-step <n>', 'last step', bigNumber)
    .option('--points <n>', 'how many states to show, 1 to 1,000; evenly chosen of those that were recorded', positiveNumber);
  examples(
    masks,
    ['espalier masks k3f9'],
    ['espalier masks k3f9 --layer 3', 'the gates of the layer that closed and opened, state by state'],
    ['espalier masks k3f9 --step 400 --layer 3', 'the closed gates of the layer after 400 steps'],
  );
  action<MasksOptions, [string]>(masks, async (context, [runId], options) => {
    const { connection, output } = context;
    const request = requestOf(runId, options, output.json);
    const response = await connection.call(connection.history, connection.history.queryMasks, request);
    output.result(response, () => {
      if (response.steps.length === 0) output.line('no masks are recorded there yet: they come with recorded states');
      else if (options.step !== undefined) printState(context, response, options);
      else if (options.layer !== undefined) printChanges(context, response);
      else printMaps(context, response);
    });
  });
}

function requestOf(runId: string, { step, layer, fromStep, toStep, points }: MasksOptions, json: boolean): v1.QueryMasksRequest {
  if (step !== undefined) {
    const given = { '--from-step': fromStep, '--to-step': toStep, '--points': points };
    const other = Object.entries(given).find(([, value]) => value !== undefined)?.[0];
    if (other !== undefined)
      throw new CliError('OPTIONS_CONFLICT', `--step shows one state: ${other} is not allowed with it`, {
        field: other,
        exitCode: ExitCode.usage,
      });
  }
  const unnamed = json ? 0 : layer === undefined ? MAP_POINTS : LIST_POINTS;
  return v1.QueryMasksRequest.fromPartial({
    runId,
    fromStep: step ?? fromStep,
    toStep: step ?? toStep,
    layer,
    maxPoints: step === undefined ? (points ?? unnamed) : 1,
    resolution: step === undefined || layer === undefined ? 0 : FINEST,
    includeChanges: step === undefined && layer !== undefined,
  });
}

interface LayerSeries {
  heads: v1.MaskSeries | undefined;
  units: v1.MaskSeries | undefined;
}

const kindIs = (kind: v1.MaskKind) => (one: v1.MaskSeries) => one.kind === kind;
const { MASK_KIND_HEADS, MASK_KIND_UNITS, MASK_KIND_HIDDEN } = v1.MaskKind;

function layersOf({ series }: v1.QueryMasksResponse): Map<number, LayerSeries> {
  const layers = new Map<number, LayerSeries>();
  for (const one of series.filter(({ kind }) => kind !== MASK_KIND_HIDDEN)) {
    const known = layers.get(one.layer) ?? { heads: undefined, units: undefined };
    layers.set(one.layer, one.kind === MASK_KIND_HEADS ? { ...known, heads: one } : { ...known, units: one });
  }
  return layers;
}

function lastOpen(series: v1.MaskSeries | undefined): string {
  return series === undefined ? '' : `${series.open.at(-1)} of ${series.size}`;
}

function lastShare(series: v1.MaskSeries | undefined): string {
  return series === undefined || series.size === 0 ? '' : percent((series.open.at(-1) ?? 0) / series.size, 0);
}

/** Draws one character for each state: full where all gates are open, a dot where all are closed. */
function map(series: v1.MaskSeries | undefined, unicode: boolean): string {
  const heights = unicode ? '▁▂▃▄▅▆▇█' : '12345678';
  if (series === undefined) return '';
  const [none, least] = [unicode ? '·' : '.', heights.length];
  return series.open.map((open) => (open === 0 ? none : heights.charAt(Math.ceil((least * open) / series.size) - 1))).join('');
}

function printMaps({ output }: Context, response: v1.QueryMasksResponse): void {
  const { unicode } = output.terminal;
  const rows = [...layersOf(response)].map(([layer, { heads, units }]) => [
    String(layer),
    lastOpen(heads),
    map(heads, unicode),
    lastOpen(units),
    lastShare(units),
    map(units, unicode),
  ]);
  output.table(['LAYER', 'HEADS', 'OVER TIME', 'UNITS', '', 'OVER TIME'], rows, [0, 1, 3, 4]);
  const hidden = response.series.find(kindIs(MASK_KIND_HIDDEN));
  if (hidden !== undefined) output.line(`hidden units: ${lastOpen(hidden)}, ${lastShare(hidden)}  ${map(hidden, unicode)}`);
  const states = howMany(response.downsampled ? response.totalPoints : response.steps.length, 'recorded state');
  const shown = response.downsampled ? `${response.steps.length} of ${states}` : states;
  output.line(output.style('dim', `from left to right: ${shown}, steps ${response.steps[0]} to ${response.steps.at(-1)}`));
}

function printState({ output }: Context, response: v1.QueryMasksResponse, { layer }: MasksOptions): void {
  output.line(`after ${howMany(response.steps.at(-1) ?? 0n, 'step')}`);
  if (layer === undefined) {
    const rows = [...layersOf(response)].map(([index, { heads, units }]) => [
      String(index),
      lastOpen(heads),
      lastShare(heads),
      lastOpen(units),
      lastShare(units),
    ]);
    output.table(['LAYER', 'HEADS', '', 'UNITS', ''], rows, [0, 1, 2, 3, 4]);
    const hidden = response.series.find(kindIs(MASK_KIND_HIDDEN));
    if (hidden !== undefined) output.line(`hidden units: ${lastOpen(hidden)}, ${lastShare(hidden)}`);
    return;
  }
  for (const series of response.series) {
    const closed = [...series.groupOpen].flatMap((share, index) => (share === 0 ? [index] : []));
    output.indented('', 0, `${kindWord(series.kind)}: ${lastOpen(series)} open${closed.length === 0 ? '' : `; closed: ${ranges(closed)}`}`);
  }
}

function printChanges({ output }: Context, response: v1.QueryMasksResponse): void {
  const lines = new Map<bigint, string[]>();
  for (const { kind, changes } of response.series) {
    for (const { step, closed, opened } of changes) {
      const words = lines.get(step) ?? [];
      if (closed.length > 0) words.push(`${kindWord(kind)} closed ${ranges(closed)}`);
      if (opened.length > 0) words.push(`${kindWord(kind)} opened ${ranges(opened)}`);
      lines.set(step, words);
    }
  }
  const width = String(response.steps.at(-1)).length + 7;
  if (lines.size === 0) output.line(`nothing closed or opened from step ${response.steps[0]} to ${response.steps.at(-1)}`);
  for (const [step, words] of [...lines].sort(([left], [right]) => Number(left - right)))
    output.indented(output.style('bold', `step ${step}`.padEnd(width)), width, words.join('; '));
  for (const series of response.series)
    output.line(`${kindWord(series.kind)} at the end: ${lastOpen(series)} open  ${map(sampled(series), output.terminal.unicode)}`);
  if (response.downsampled)
    output.line(output.style('dim', `${response.steps.length} of ${howMany(response.totalPoints, 'recorded state')}; more with --points`));
}

function sampled(series: v1.MaskSeries): v1.MaskSeries {
  const { open } = series;
  if (open.length <= 2 * MAP_POINTS) return series;
  const wanted = Array.from({ length: 2 * MAP_POINTS }, (_, index) => Math.round((index * (open.length - 1)) / (2 * MAP_POINTS - 1)));
  return { ...series, open: wanted.map((at) => open[at] ?? 0) };
}

const kindWord = (kind: v1.MaskKind): string => (kind === MASK_KIND_HEADS ? 'heads' : kind === MASK_KIND_UNITS ? 'units' : 'hidden units');

/** Writes rising numbers as ranges: "3, 7-12, 40". */
function ranges(numbers: readonly number[]): string {
  const parts: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const part = parts.at(-1);
    if (part?.last === number - 1) part.last = number;
    else parts.push({ first: number, last: number });
  }
  return parts.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(', ');
}
