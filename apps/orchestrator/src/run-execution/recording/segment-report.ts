// Turns the engine's report of a segment into the form that is recorded. All functions are pure.
import { allGates, encodeGates, gateBytes, gatesApart, gatesDigest, gatesIn } from '#audit';
import { engineV1, EspalierError } from '#protocol';
import type { ExportSize, LayerScan, ModelIdentity, SegmentLoss, StateFact } from '../../pruning-run/record/pruning-run.events.js';
import {
  STEP_FIGURE_NAMES,
  STEP_FIGURES,
  type SegmentMasks,
  type StepFigure,
  type StepMeasurement,
} from '../../pruning-run/record/steps-measured.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import type { SegmentPlan } from '../../pruning-run/planning/segment-plan.js';
import type { EndedSegment } from '../../engines/wire/engine-client.js';
import { required } from '../../engines/wire/received-answers.js';
import type { TrainedSegment } from './segment-recorder.js';

/** @throws EspalierError TRAINING_DIVERGED where the price of sparsity grew beyond all numbers, so that no later step can learn */
export function stepMeasurement(report: engineV1.StepReport, plan: SegmentPlan): StepMeasurement {
  const prices = { lambda1: report.lambda1, lambda2: report.lambda2 };
  for (const [name, price] of Object.entries(prices)) {
    if (Number.isFinite(price)) continue;
    const field = 'settings.lambda_learning_rate';
    const message =
      `${name}, the price of sparsity, is ${price} after step ${report.step}: ` + 'lower lambda_learning_rate or mask_learning_rate';
    throw new EspalierError('TRAINING_DIVERGED', message, { violations: [{ field, description: message, code: 'TRAINING_DIVERGED' }] });
  }
  const teacher = plan.stretches.findLast(({ firstStep }) => firstStep <= Number(report.step))?.teacher;
  const teacherMark = teacher?.kind === 'snapshot' ? teacher.mark : null;
  const recorded = STEP_FIGURE_NAMES.map((name) => [name, name === 'teacherMark' ? teacherMark : recordedFigure(report, name)]);
  return Object.fromEntries(recorded) as StepMeasurement;
}

function recordedFigure(report: engineV1.StepReport, name: Exclude<StepFigure, 'teacherMark'>): number | boolean | null {
  const value = report[name];
  if (STEP_FIGURES[name] === 'finite') return Number.isFinite(value) ? (value as number) : null;
  return typeof value === 'bigint' ? Number(value) : value!;
}

export function trainedSegment(
  run: PruningRunState,
  attempt: number,
  plan: SegmentPlan,
  steps: StepMeasurement[],
  { outcome, state }: EndedSegment,
): TrainedSegment {
  const stepsDone = Number(outcome.stepsDone);
  const fact = stateFact(run.model, outcome, plan.firstStep + stepsDone);
  const { openUnits } = outcome.state;
  if (steps.length !== stepsDone || stepsDone === 0) {
    throw new EspalierError('ENGINE_FAILED', `the engine did ${stepsDone} steps from ${plan.firstStep} on and reported ${steps.length}`);
  }
  if (state === null) throw new EspalierError('ENGINE_FAILED', `the engine sent no state at step ${fact.step}`);
  const { batchSize, sequenceLength } = run.settings;
  return {
    state,
    steps,
    masks: masksOf(run, openUnits, outcome.openUnitsBefore),
    report: {
      kind: 'recordSegment',
      attempt,
      firstStep: plan.firstStep,
      state: fact,
      scheduledSparsity: steps[steps.length - 1]!.scheduledSparsity,
      loss: segmentLoss(steps),
      skippedSteps: steps.filter((one) => one.skipped).map((one) => one.step),
      trainingSeconds: outcome.seconds,
      tokens: stepsDone * batchSize * sequenceLength,
      openDigest: gatesDigest(openUnits),
      refit: outcome.refit,
      scans: scansOf(run, plan.firstStep, stepsDone, outcome.scans),
    },
  };
}

/** The scores of the layers of a scan, one for each step. Other runs have none. */
export function scansOf(
  run: Pick<PruningRunState, 'settings' | 'model'>,
  firstStep: number,
  steps: number,
  scans: engineV1.LayerScan[],
): LayerScan[] {
  const layers = run.settings.recipe === 'scan' ? steps : 0;
  if (scans.length !== layers || scans.some(({ layer }, index) => layer !== firstStep + index))
    throw new EspalierError('ENGINE_FAILED', `the engine scored ${scans.length} layers in ${layers} steps of a scan from ${firstStep} on`);
  for (const { layer, forms } of scans) {
    const { heads, units } = run.model.layers[layer]!;
    const wrong = forms.find(({ attention, kept, kl, loss }) => kept >= (attention ? heads : units) || !Number.isFinite(kl + loss));
    if (wrong === undefined) continue;
    const { attention, kept, kl, loss } = wrong;
    const form = `${attention ? 'attention' : 'MLP'} with ${kept} parts`;
    throw new EspalierError('ENGINE_FAILED', `the engine scored ${form} of layer ${layer} with ${kl} and ${loss}`);
  }
  return scans;
}

/** The masks for the record: the gates that changed, and all closed gates where the record does not tell the gates before the segment. */
function masksOf({ model, openDigest }: PruningRunState, openUnits: Buffer, openUnitsBefore: Buffer): SegmentMasks {
  const gates = model.layers.reduce((sum, { heads, units }) => sum + heads + units, model.hiddenSize);
  if (openUnits.length !== gateBytes(gates) || openUnitsBefore.length !== gateBytes(gates)) {
    throw new EspalierError('ENGINE_FAILED', `the engine sent masks of ${openUnits.length} bytes for ${gates} heads and units`);
  }
  const changed = encodeGates(gatesApart(openUnitsBefore, openUnits));
  if (gatesDigest(openUnitsBefore) === openDigest) return { changed };
  return { closedBefore: encodeGates(gatesApart(allGates(gates), openUnitsBefore)), changed };
}

/** @param outcome the report of an engine, or what an engine of this installation says of a state */
export function stateFact(
  model: ModelIdentity,
  { state, stateBytes }: Pick<engineV1.SegmentOutcome, 'state' | 'stateBytes'>,
  step: number,
): StateFact {
  if (state === undefined || Number(state.step) !== step) {
    throw new EspalierError('ENGINE_FAILED', `the engine's state is at step ${state?.step}, expected was ${step}`);
  }
  return {
    step,
    stateDigest: state.digest,
    stateBytes: Number(stateBytes),
    masksDigest: state.masksDigest,
    expectedSparsity: state.expectedSparsity,
    hardSparsity: state.hardSparsity,
    headsOpen: state.open.map((layer) => Number(layer.heads)),
    unitsOpen: state.open.map((layer) => Number(layer.intermediate)),
    hiddenOpen: Number(state.hiddenOpen),
    ...(model.kvHeads === undefined ? {} : { kvHeadsOpen: kvHeadsOpen(model.layers, model.kvHeads, state.openUnits) }),
    size: exportSize(required(state.size, 'SegmentOutcome.state.size')),
  };
}

/**
 * Counts the key/value heads that an open head reads. The query heads that read one key/value head are neighbours, and heads come first
 * among the gates.
 */
export function kvHeadsOpen(layers: ModelIdentity['layers'], kvHeads: number, gates: Uint8Array): number[] {
  let first = 0;
  return layers.map(({ heads }) => {
    const from = first;
    first += heads;
    return new Set(Array.from(gatesIn(gates, from, first), (gate) => Math.floor((gate - from) / (heads / kvHeads)))).size;
  });
}

function exportSize({ parameterCount, multiplications, bytes }: engineV1.ExportSize): ExportSize {
  return { parameterCount: Number(parameterCount), multiplications: Number(multiplications), bytes: Number(bytes) };
}

function segmentLoss(steps: StepMeasurement[]): SegmentLoss {
  const trained = steps.filter((one) => !one.skipped);
  return {
    mean: mean(trained.map((one) => one.loss)),
    last: trained[trained.length - 1]?.loss ?? null,
  };
}

function mean(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
