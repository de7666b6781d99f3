// Answers QueryMasks: how many heads, units and hidden units are open in recorded states, and which closed or opened between them.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { gatesApart, gatesIn, type Gates } from '#audit';
import { invalidField, v1 } from '#protocol';
import type { ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';
import { runNotFound } from '../../pruning-run/aggregate/pruning-run.errors.js';
import { readMasks, stepsWithMasks, type MasksAt } from '../../views/projection/masks-reader.js';
import type { RunViews } from '../../views/run-views.js';

const DEFAULT_POINTS = 100;
const MOST_POINTS = 1_000;
const FINEST_RESOLUTION = 65_536;
/** The most cells of an answer, which has to fit into a message of the usual 4 MiB. */
const MOST_CELLS = 2 << 20;
const MOST_CHANGES = 500_000;
/** The longest time in milliseconds for which the process may not answer other calls. */
const TURN_MS = 20;

/** Gates that are neighbours: a layer's heads, a layer's units, or the hidden units. */
interface Span {
  kind: v1.MaskKind;
  layer: number;
  first: number;
  size: number;
}

const { MASK_KIND_UNSPECIFIED, MASK_KIND_HEADS, MASK_KIND_UNITS, MASK_KIND_HIDDEN } = v1.MaskKind;

export async function queryMasks(views: RunViews, request: v1.QueryMasksRequest, signal: AbortSignal): Promise<v1.QueryMasksResponse> {
  const runId = await views.runId(request.runId);
  const summary = views.peek(runId);
  if (summary === null) throw runNotFound(runId);
  const { model } = summary.run;
  const spans = spansAsked(model, request);
  const recorded = stepsWithMasks(views.database, runId, summary.extras.rewinds);
  const inRange = stepsInRange(recorded, request);
  const shown = new Set(evenly(inRange, pointsAsked(request)));
  if (shown.size * spans.reduce((sum, span) => sum + groupsOf(span, request), 0) > MOST_CELLS) throw tooMuch('resolution');

  const series = spans.map((span) => new SeriesOf(span, request));
  let before: Gates | null = null;
  let changes = 0;
  const addStates = ({ step, open }: MasksAt): void => {
    if (!shown.has(step)) return;
    const changed = before === null ? null : gatesApart(before, open);
    for (const one of series) changes += one.add(step, open, changed);
    if (changes > MOST_CHANGES) throw tooMuch('include_changes');
    before = open;
  };
  const last = Math.max(-1, ...shown);
  let turnEnds = performance.now() + TURN_MS;
  for (const masks of readMasks(views.database, runId, summary.extras.rewinds, gateCount(model))) {
    if (masks.step > last) break;
    addStates(masks);
    if (performance.now() < turnEnds) continue;
    await nextTurn();
    signal.throwIfAborted();
    turnEnds = performance.now() + TURN_MS;
  }
  return {
    steps: [...shown].map(BigInt),
    series: series.map((one) => one.message),
    totalPoints: BigInt(inRange.length),
    downsampled: inRange.length > shown.size,
  };
}

export function gateCount({ layers, hiddenSize }: Pick<ModelIdentity, 'layers' | 'hiddenSize'>): number {
  return layers.reduce((sum, { heads, units }) => sum + heads + units, hiddenSize);
}

/** The spans in the order of the gates: all heads, all units, then the hidden units. */
function spansOf({ layers, hiddenSize }: Pick<ModelIdentity, 'layers' | 'hiddenSize'>): Span[] {
  const sizes = [
    ...layers.map(({ heads }, layer) => ({ kind: MASK_KIND_HEADS, layer, size: heads })),
    ...layers.map(({ units }, layer) => ({ kind: MASK_KIND_UNITS, layer, size: units })),
    { kind: MASK_KIND_HIDDEN, layer: 0, size: hiddenSize },
  ];
  let first = 0;
  return sizes.map((one) => {
    const span = { ...one, first };
    first += one.size;
    return span;
  });
}

function spansAsked(model: ModelIdentity, { kind, layer, resolution }: v1.QueryMasksRequest): Span[] {
  if (resolution > FINEST_RESOLUTION) throw invalidField('FIELD_OUT_OF_RANGE', 'resolution', `0 to ${FINEST_RESOLUTION} is allowed`);
  if (layer !== undefined && layer >= model.layers.length)
    throw invalidField(
      'FIELD_OUT_OF_RANGE',
      'layer',
      `0 to ${model.layers.length - 1} is allowed: the model has ${model.layers.length} layers`,
    );
  if (layer !== undefined && kind === MASK_KIND_HIDDEN)
    throw invalidField('REQUEST_INVALID', 'layer', 'is of heads and units only: all layers share the hidden units');
  return spansOf(model)
    .filter((span) => kind === MASK_KIND_UNSPECIFIED || span.kind === kind)
    .filter((span) => layer === undefined || (span.kind !== MASK_KIND_HIDDEN && span.layer === layer));
}

function pointsAsked({ maxPoints }: v1.QueryMasksRequest): number {
  if (maxPoints > MOST_POINTS) throw invalidField('FIELD_OUT_OF_RANGE', 'max_points', `1 to ${MOST_POINTS} is allowed`);
  return maxPoints === 0 ? DEFAULT_POINTS : maxPoints;
}

/** The steps in the asked range, and the last step before the range, whose masks still hold at its beginning. */
function stepsInRange(steps: number[], { fromStep, toStep }: v1.QueryMasksRequest): number[] {
  if (fromStep !== undefined && toStep !== undefined && toStep < fromStep)
    throw invalidField('FIELD_OUT_OF_RANGE', 'to_step', 'must not lie before from_step');
  const from = fromStep === undefined ? 0 : (steps.findLast((step) => step <= Number(fromStep)) ?? Number(fromStep));
  const to = toStep === undefined ? Number.MAX_SAFE_INTEGER : Number(toStep);
  return steps.filter((step) => step >= from && step <= to);
}

/** Chooses steps at even distances: always the last one, and the first where two or more are chosen. */
function evenly(steps: number[], most: number): number[] {
  if (steps.length <= most) return steps;
  if (most === 1) return steps.slice(-1);
  return Array.from({ length: most }, (_, index) => steps[Math.round((index * (steps.length - 1)) / (most - 1))]!);
}

function groupsOf({ size }: Span, { resolution }: v1.QueryMasksRequest): number {
  return Math.min(size, resolution);
}

function tooMuch(field: string): Error {
  return invalidField(
    'FIELD_OUT_OF_RANGE',
    field,
    'gives an answer that is too large: name a kind or a layer, fewer points or a shorter range',
  );
}

class SeriesOf {
  private readonly open: number[] = [];
  private readonly shares: Buffer[] = [];
  private readonly changes: v1.MaskChange[] = [];
  private readonly groups: number;

  constructor(
    private readonly span: Span,
    private readonly request: v1.QueryMasksRequest,
  ) {
    this.groups = groupsOf(span, request);
  }

  /** @returns the number of changes that were noted */
  add(step: number, open: Gates, changed: Gates | null): number {
    const { first, size } = this.span;
    const gates = new Set(gatesIn(open, first, first + size));
    this.open.push(gates.size);
    const inGroups = new Array<number>(this.groups).fill(0);
    if (this.groups > 0)
      for (const gate of gates) {
        const group = Math.floor(((gate - first) * this.groups) / size);
        inGroups[group] = (inGroups[group] ?? 0) + 1;
      }
    if (this.groups > 0) this.shares.push(Buffer.from(inGroups.map((opened, group) => this.share(opened, group))));
    if (!this.request.includeChanges || changed === null) return 0;
    const change: v1.MaskChange = { step: BigInt(step), closed: [], opened: [] };
    for (const gate of gatesIn(changed, first, first + size)) {
      (gates.has(gate) ? change.opened : change.closed).push(gate - first);
    }
    const noted = change.closed.length + change.opened.length;
    if (noted > 0) this.changes.push(change);
    return noted;
  }

  /** The share of a group that is open, from 0 to 255. It is 0 or 255 only if all gates of the group are closed or open. */
  private share(opened: number, group: number): number {
    const { size } = this.span;
    const members = Math.ceil(((group + 1) * size) / this.groups) - Math.ceil((group * size) / this.groups);
    if (opened === 0 || opened === members) return opened === 0 ? 0 : 255;
    return Math.min(Math.max(Math.round((255 * opened) / members), 1), 254);
  }

  get message(): v1.MaskSeries {
    const { kind, layer, size } = this.span;
    return { kind, layer, size, open: this.open, groups: this.groups, groupOpen: Buffer.concat(this.shares), changes: this.changes };
  }
}
