// Answers CompareRuns: the differences of two runs in settings, results, and open heads and units.
import { allGates } from '#audit';
import { LOSS_NAMES, LOSSES } from '#comparison';
import type { v1 } from '#protocol';
import { comparableOf, otherMeasuresOf } from '../pruning-run/aggregate/headline.js';
import { commonAncestor } from './lineage.js';
import { unitsOfGates, type OpenUnits } from './masks/open-units.js';
import { gateCount } from './masks/query-masks.js';
import { layerSparsities } from './masks/layer-sparsity.js';
import { readMasks } from '../views/projection/masks-reader.js';
import type { RunSummary } from '../views/projection/run-detail.js';
import type { RunViews } from '../views/run-views.js';

export async function compareRuns(views: RunViews, request: v1.CompareRunsRequest): Promise<v1.CompareRunsResponse> {
  const leftId = await views.runId(request.leftRunId, 'left_run_id');
  const rightId = await views.runId(request.rightRunId, 'right_run_id');
  const left = views.summaryOf(leftId);
  const right = views.summaryOf(rightId);
  const common = commonAncestor(views, leftId, rightId);
  return {
    settings: differences(askedOf(left), askedOf(right)),
    metrics: differences(outcomeOf(views, left), outcomeOf(views, right)),
    layers: layerDifferences(left, right, openUnitsOf(views, left), openUnitsOf(views, right)),
    commonAncestorRunId: common?.runId ?? '',
    commonStep: BigInt(common?.step ?? 0),
  };
}

function askedOf({ run }: RunSummary): Record<string, unknown> {
  const { path, weightsDigest } = run.model;
  const { trainTokens: _, validationTokens: __, trainSources: ___, ...data } = run.data; // the digest names the sources
  return {
    ...prefixed('settings', run.settings),
    ...prefixed('model', { path, weightsDigest }),
    ...prefixed('data', data),
  };
}

function outcomeOf(views: RunViews, summary: RunSummary): Record<string, unknown> {
  const run = views.message(summary);
  const { intact, masked, exported } = comparableOf(summary.run);
  const { lastStep } = run;
  return {
    step: run.step,
    scheduled_sparsity: run.scheduledSparsity,
    expected_sparsity: run.expectedSparsity,
    hard_sparsity: run.hardSparsity,
    teacher_count: run.teacherCount,
    target_reached_step: run.targetReachedStep,
    hidden_open: run.hiddenOpen,
    skipped_steps: run.skippedSteps,
    restarts: run.restarts,
    training_seconds: run.trainingSeconds,
    tokens_per_second: run.tokensPerSecond || null, // 0: no segment has ended since the last start
    state_digest: run.stateDigest,
    loss: lastStep?.loss,
    ...Object.fromEntries(LOSS_NAMES.map((name) => [LOSSES[name].field, lastStep?.[name]])),
    numerics_fingerprint: run.numericsFingerprint,
    perplexity_intact: intact?.value,
    perplexity_masked: masked?.value,
    perplexity_exported: exported?.value,
    ...Object.fromEntries(otherMeasuresOf(summary.run).map((one) => [measureOf(one), one.value])),
  };
}

/** A name that is equal for two values that can be compared. */
function measureOf({
  task,
  metric,
  convention,
  dataDigest,
  subject,
}: Parameters<typeof otherMeasuresOf>[0]['evaluations'][number]): string {
  return `${task}.${metric} of ${subject.split(':')[0]} (${convention}, data ${dataDigest.slice(0, 12)})`;
}

function prefixed(prefix: string, fields: object): Record<string, unknown> {
  const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [`${prefix}.${snake(name)}`, value as unknown]));
}

/** The fields that differ, in the order of the left run. */
function differences(left: Record<string, unknown>, right: Record<string, unknown>): v1.FieldDifference[] {
  return [...new Set([...Object.keys(left), ...Object.keys(right)])]
    .map((field) => ({ field, left: textOf(left[field]), right: textOf(right[field]) }))
    .filter((one) => one.left !== one.right);
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : `${value as string | number | bigint | boolean}`;
}

/** The open heads and units. All are open before the first recorded state. Null where the record lacks the masks of the newest state. */
function openUnitsOf({ database }: RunViews, { run, extras }: RunSummary): OpenUnits | null {
  const gates = gateCount(run.model);
  if (run.current === null) return unitsOfGates(run.model, allGates(gates));
  for (const { step, open } of readMasks(database, run.runId, extras.rewinds, gates))
    if (step === run.current.step) return unitsOfGates(run.model, open);
  return null;
}

/** One entry for each layer, so that sparsities can be read side by side. The lists are left out where masks are not known. */
function layerDifferences(
  left: RunSummary,
  right: RunSummary,
  leftOpen: OpenUnits | null,
  rightOpen: OpenUnits | null,
): v1.LayerDifference[] {
  const [leftSparsities, rightSparsities] = [sparsitiesOf(left), sparsitiesOf(right)];
  const count = Math.max(left.run.model.layers.length, right.run.model.layers.length);
  return Array.from({ length: count }, (_, layer) => {
    const heads = only(leftOpen?.heads[layer], rightOpen?.heads[layer]);
    const units = only(leftOpen?.units[layer], rightOpen?.units[layer]);
    return {
      layer,
      headsOnlyLeft: heads.left,
      headsOnlyRight: heads.right,
      unitsOnlyLeft: units.left,
      unitsOnlyRight: units.right,
      sparsityLeft: leftSparsities[layer] ?? 0,
      sparsityRight: rightSparsities[layer] ?? 0,
    };
  });
}

function sparsitiesOf({ run }: RunSummary): number[] {
  return run.current === null ? [] : layerSparsities(run.model, run.current, run.budget);
}

function only(left: Set<number> | undefined, right: Set<number> | undefined): { left: number[]; right: number[] } {
  if (left === undefined || right === undefined) return { left: [], right: [] };
  return { left: [...left].filter((index) => !right.has(index)), right: [...right].filter((index) => !left.has(index)) };
}
