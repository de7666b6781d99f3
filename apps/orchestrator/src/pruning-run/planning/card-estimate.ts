// Memory and time that a run would take on a card that is not here; pure, and an estimate: what it rests on is in docs/plan.md.
// The memory is an engine's plan of the same settings, with what a card has of its own; the time follows from the card's published peaks.
import type { engineV1 } from '#protocol';
import type { ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import { lossesAt, phasesOf, prunesAtOnce } from '../method/phases.js';
import type { Card } from './cards.js';

/** The assumed share of a published peak that products of large matrices reach, with all the work between them. */
export const PEAK_SHARE = 0.4;
/** The driver's own memory on a card. */
const CONTEXT_BYTES = 2 ** 30;
/** Workspaces of the libraries for products. */
const WORKSPACE_BYTES = 2 ** 26;
/** FLOPs of a weight and token: a multiplication and an addition. */
const FLOPS = 2;
const VALUE_BYTES = { bf16: 2, f32: 4 };

type Model = Pick<ModelIdentity, 'hiddenSize' | 'vocabularySize' | 'layers' | 'prunableParameterCount' | 'parameterCount' | 'weightBytes'>;
type Shape = Pick<RunSettings, 'batchSize' | 'microShards' | 'sequenceLength' | 'computeDtype' | 'streamWeights' | 'checkpointActivations'>;
type Memory = Omit<engineV1.PlanMemoryResponse, 'change' | 'numericsFingerprint'>;

/** The plan of memory for the card. @param memory the plan of an engine that computes on a processor, or on another card */
export function memoryOnCard<M extends Memory>(memory: M, model: Model, settings: Shape, card: Card): M {
  const availableBytes = BigInt(card.memoryBytes - CONTEXT_BYTES);
  if (memory.hostBytes > 0n) return { ...memory, availableBytes };
  const states = 2n * (memory.loraBytes + memory.optimizerBytes); // on their way to disk: in the machine's memory
  const onCard = {
    weightsBytes: settings.streamWeights ? memory.weightsBytes - heldBack(model) : memory.weightsBytes,
    teachersBytes: 2n * memory.loraBytes, // the one in use, and the next
    scratchBytes: max(memory.scratchBytes - states, 0n) + memory.loraBytes + BigInt(productScratch(model, settings)),
  };
  const { loraBytes, optimizerBytes, activationsBytes } = memory;
  return {
    ...memory,
    devices: 1,
    devicesThere: 1,
    ...onCard,
    totalBytes: onCard.weightsBytes + loraBytes + optimizerBytes + activationsBytes + onCard.teachersBytes + onCard.scratchBytes,
    availableBytes,
    hostBytes: memory.processBytes + memory.teachersBytes + states + (settings.streamWeights ? heldBack(model) : 0n),
    hostAvailableBytes: memory.availableBytes,
  };
}

/** Weights of the layers that are not on the card while they are streamed: all but two. */
function heldBack({ prunableParameterCount, parameterCount, weightBytes, layers }: Model): bigint {
  const all = weightBytes * (prunableParameterCount / parameterCount);
  return BigInt(Math.floor(all * Math.max(0, 1 - 2 / layers.length)));
}

/** Packed factors and sums of the widest products. */
function productScratch({ hiddenSize, vocabularySize, layers }: Model, settings: Shape): number {
  const units = Math.max(...layers.map((layer) => layer.units));
  const rows = rowsOf(settings);
  const widest = Math.max(3 * hiddenSize, 2 * units, vocabularySize);
  const bytes = VALUE_BYTES[settings.computeDtype];
  return widest * hiddenSize * bytes + rows * Math.max(hiddenSize, units) * 4 + rows * hiddenSize * bytes + WORKSPACE_BYTES;
}

/** Tokens that are computed at once. */
const rowsOf = ({ batchSize, microShards, sequenceLength }: Shape): number => (batchSize / microShards) * sequenceLength;

/** Seconds of training, at PEAK_SHARE of the card's peak, or as fast as its bus brings the weights. */
export function secondsOnCard(model: Model, settings: RunSettings, card: Card): number {
  return phasesOf(settings).reduce((sum, { kind, firstStep, endStep }) => {
    if (kind === 'prune' && prunesAtOnce(settings.recipe)) return sum; // reads some text once
    return sum + (endStep - firstStep) * stepSeconds(model, settings, lossesAt(settings, firstStep), card);
  }, 0);
}

function stepSeconds(model: Model, settings: RunSettings, losses: { layerWeight: number; klWeight: number }, card: Card): number {
  const teacher = losses.layerWeight > 0 || losses.klWeight > 0 ? 1 : 0;
  // The student forward and backward to its inputs, as its weights are frozen; checkpointed, forward once more.
  const passes = 2 + teacher + (settings.checkpointActivations ? 1 : 0);
  const { batchSize, microShards, sequenceLength, computeDtype } = settings;
  const weights = model.prunableParameterCount + model.hiddenSize * model.vocabularySize;
  // A token attends to half the sequence on average, with two products over the width of the heads.
  const attention = model.layers.length * model.hiddenSize * sequenceLength;
  const products = (passes * FLOPS * (weights + attention) * batchSize * sequenceLength) / (card.flops[computeDtype] * PEAK_SHARE);
  if (!settings.streamWeights) return products;
  return Math.max(products, (passes * microShards * Number(heldBack(model))) / card.busBytesPerSecond);
}

const max = (left: bigint, right: bigint): bigint => (left > right ? left : right);
