// Estimates the memory and time that a run would take on a card that this machine lacks. docs/plan.md explains the estimate. The
// memory is that of an engine's plan for the same settings, with the parts that only a card has. The time follows from the card's published
// peaks. All functions are pure.
import type { engineV1 } from '#protocol';
import type { ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import { lossesAt, phasesOf, prunesAtOnce } from '../method/phases.js';
import type { Card } from './cards.js';

/** The share of a published peak that products of large matrices are assumed to reach, with all the work between them. */
export const PEAK_SHARE = 0.4;
/** The memory that the driver of a card takes. */
const CONTEXT_BYTES = 2 ** 30;
/** The memory that the libraries for products take as workspaces. */
const WORKSPACE_BYTES = 2 ** 26;
/** The size of a slice, and of the pieces in which a state in slices is written (core/files/sliced_file.h). */
const SLICE_BYTES = 2n ** 28n;
const STATE_PIECE_BYTES = 2n ** 24n;
/** The FLOPs for a weight and a token: a multiplication and an addition. */
const FLOPS = 2;
const VALUE_BYTES = { bf16: 2, f32: 4 };

type Model = Pick<ModelIdentity, 'hiddenSize' | 'vocabularySize' | 'layers' | 'prunableParameterCount' | 'parameterCount' | 'weightBytes'>;
type Shape = Pick<RunSettings, 'batchSize' | 'microShards' | 'sequenceLength' | 'computeDtype' | 'streamWeights' | 'checkpointActivations'>;
type Memory = Omit<engineV1.PlanMemoryResponse, 'numericsFingerprint'>;

/** Turns a plan of memory into one for the card. @param memory the plan of an engine that computes on a processor, or on another card */
export function memoryOnCard<M extends Memory>(memory: M, model: Model, settings: Shape, card: Card): M {
  const availableBytes = BigInt(card.memoryBytes - CONTEXT_BYTES);
  if (memory.hostBytes > 0n) return { ...memory, availableBytes, hostAvailableBytes: memory.hostBytes };
  const { loraBytes, optimizerBytes, activationsBytes } = memory;
  const state = loraBytes + optimizerBytes;
  const ownWeights = memory.ownStateBytes > 0n && state === memory.ownStateBytes;
  // States on their way to the disk wait in the machine's memory: two whole ones, or two pieces of one in slices.
  const states = 2n * (state > SLICE_BYTES ? STATE_PIECE_BYTES : state);
  const onCard = {
    weightsBytes: settings.streamWeights ? memory.weightsBytes - heldBack(model) : memory.weightsBytes,
    teachersBytes: ownWeights ? 0n : 2n * loraBytes, // the teacher in use and the next one; own weights learn from the intact model alone
    scratchBytes: max(memory.scratchBytes - states, 0n) + BigInt(productScratch(model, settings) + moreLogits(model, settings)),
  };
  const hostBytes = memory.processBytes + memory.teachersBytes + states + (settings.streamWeights ? heldBack(model) : 0n);
  return {
    ...memory,
    devices: 1,
    devicesThere: 1,
    ...onCard,
    totalBytes: onCard.weightsBytes + loraBytes + optimizerBytes + activationsBytes + onCard.teachersBytes + onCard.scratchBytes,
    availableBytes,
    hostBytes,
    hostAvailableBytes: hostBytes, // of a machine that is not known
  };
}

/** The bytes of the layers' weights that are not on the card while weights are streamed: those of all layers but two. */
function heldBack({ prunableParameterCount, parameterCount, weightBytes, layers }: Model): bigint {
  const all = weightBytes * (prunableParameterCount / parameterCount);
  return BigInt(Math.floor(all * Math.max(0, 1 - 2 / layers.length)));
}

/** The bytes of packed factors and sums of the widest products. */
function productScratch({ hiddenSize, vocabularySize, layers }: Model, settings: Shape): number {
  const units = Math.max(...layers.map((layer) => layer.units));
  const rows = rowsOf(settings);
  const widest = Math.max(3 * hiddenSize, 2 * units, vocabularySize);
  const bytes = VALUE_BYTES[settings.computeDtype];
  return widest * hiddenSize * bytes + rows * Math.max(hiddenSize, units) * 4 + rows * hiddenSize * bytes + WORKSPACE_BYTES;
}

/**
 * The number of tokens whose logits are made at once, on a card and on a processor (chunk_tokens of core/on_device/workspace.cpp, with the
 * limits of StepForm).
 */
const LOGITS_ON_CARD = 2_048;
const onProcessor = (vocabulary: number): number => Math.min(Math.max(Math.floor(2 ** 20 / vocabulary / 64) * 64, 512), 1_024);

/** The bytes that the logits of a card's larger chunks take, above those of a processor's. */
function moreLogits({ hiddenSize, vocabularySize }: Model, settings: Shape): number {
  const rows = rowsOf(settings);
  const bytes = VALUE_BYTES[settings.computeDtype];
  const taken = (atOnce: number): number => {
    const tokens = Math.min(rows, atOnce);
    // The logits of student and teacher share their memory with attention's queries, keys and values, of which only the queries count:
    // how many keys a model has is not known here. The final norm and the gradient of the logits have memory of their own.
    const shared = Math.max(2 * tokens * vocabularySize, rows * hiddenSize) * 4;
    return shared + (2 * tokens * hiddenSize + tokens * vocabularySize) * bytes;
  };
  return taken(LOGITS_ON_CARD) - taken(onProcessor(vocabularySize));
}

/** The number of tokens that are computed at once. */
const rowsOf = ({ batchSize, microShards, sequenceLength }: Shape): number => (batchSize / microShards) * sequenceLength;

/**
 * The seconds of training, at PEAK_SHARE of the card's peak or as fast as the bus brings the weights, whichever is slower.
 * @param doneSteps the steps that a fork has from its parent
 */
export function secondsOnCard(model: Model, settings: RunSettings, card: Card, doneSteps = 0): number {
  return phasesOf(settings).reduce((sum, { kind, firstStep, endStep }) => {
    if (kind === 'prune' && prunesAtOnce(settings.recipe)) return sum; // a baseline only reads some text once
    const steps = Math.max(0, endStep - Math.max(firstStep, doneSteps));
    const ownWeights = kind === 'recover' && settings.recoverWeights !== 'lora';
    return sum + steps * stepSeconds(model, settings, lossesAt(settings, firstStep), ownWeights, card);
  }, 0);
}

function stepSeconds(
  model: Model,
  settings: RunSettings,
  losses: { layerWeight: number; klWeight: number },
  ownWeights: boolean,
  card: Card,
): number {
  const teacher = losses.layerWeight > 0 || losses.klWeight > 0 ? 1 : 0;
  // The student's forward pass and its backward pass, which skips the gradients of frozen weights. With checkpoints there is one more
  // forward pass. Own weights have gradients, which cost one more pass, and closed parts have no weights.
  const forward = settings.checkpointActivations ? 2 : 1;
  const passes = teacher + (ownWeights ? (1 - settings.targetSparsity) * (forward + 2) : forward + 1);
  const { batchSize, microShards, sequenceLength, computeDtype } = settings;
  const weights = model.prunableParameterCount + model.hiddenSize * model.vocabularySize;
  // On average a token attends to half the sequence, with two products over the width of the heads.
  const attention = model.layers.length * model.hiddenSize * sequenceLength;
  const products = (passes * FLOPS * (weights + attention) * batchSize * sequenceLength) / (card.flops[computeDtype] * PEAK_SHARE);
  if (!settings.streamWeights) return products;
  // Own weights are on the card: only the intact teacher's come over the bus, in the forward and in the backward pass.
  const streamed = ownWeights ? 2 * teacher : passes;
  return Math.max(products, (streamed * microShards * Number(heldBack(model))) / card.busBytesPerSecond);
}

const max = (left: bigint, right: bigint): bigint => (left > right ? left : right);
