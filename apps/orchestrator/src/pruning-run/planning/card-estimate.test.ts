// Compares estimates of time and memory on a card with values worked out by hand.
import { resolveSettings } from '../method/run-settings.js';
import { memoryOnCard, PEAK_SHARE, secondsOnCard } from './card-estimate.js';
import { cardNamed } from './cards.js';

const GiB = 2n ** 30n;
// The shapes of LLaMA 7B.
const model = {
  hiddenSize: 4096,
  vocabularySize: 32_000,
  layers: Array.from({ length: 32 }, () => ({ heads: 32, units: 11_008 })),
  prunableParameterCount: 6_476_005_376,
  parameterCount: 6_738_415_616,
  weightBytes: 13_476_831_232,
};
const identity = { ...model, path: '', weightsDigest: '', architecture: 'LlamaForCausalLM', maxPositions: 4096 };
const settings = resolveSettings({
  preset: 'short',
  batchSize: 16,
  sequenceLength: 512,
  totalSteps: 1_000,
  recoverSteps: 0,
  recipe: 'nuteprune',
});
const h100 = cardNamed('h100-80gb');

test('three passes of two FLOPs a weight and token, at a share of the peak', () => {
  const perToken = 3 * 2 * (6_476_005_376 + 4096 * 32_000 + 32 * 4096 * 512);
  const expected = (1_000 * 16 * 512 * perToken) / (989e12 * PEAK_SHARE);
  expect(secondsOnCard(identity, settings, h100) / expected).toBeCloseTo(1, 9);
  const with_ = (change: object): number => secondsOnCard(identity, { ...settings, ...change }, h100) / expected;
  expect(with_({ checkpointActivations: true })).toBeCloseTo(4 / 3, 9); // one more forward pass
  expect(with_({ recipe: 'lm' })).toBeCloseTo(2 / 3, 9); // no pass of a teacher
  expect(with_({ microShards: 16 })).toBeCloseTo(1, 9);
  expect(with_({ recoverSteps: 500, recoverLmLossWeight: 1 })).toBeCloseTo(1 + 0.5 * (2 / 3), 9);
  // Own weights at half the size: a forward pass, and a backward pass that also makes their gradients. The teacher is intact.
  const own = { recoverSteps: 500, recoverLmLossWeight: 0, recoverKlLossWeight: 1, recoverWeights: 'all', targetSparsity: 0.5 };
  expect(with_(own)).toBeCloseTo(1 + 0.5 * ((1 + 0.5 * 3) / 3), 9);
  expect(with_({ recipe: 'wanda', totalSteps: 1 })).toBe(0); // a baseline trains nothing
});

test('streamed weights come over the bus once a pass and shard', () => {
  const streamed = { ...settings, streamWeights: true, microShards: 16 };
  const held = Math.floor(model.weightBytes * (model.prunableParameterCount / model.parameterCount) * (30 / 32));
  expect(secondsOnCard(identity, streamed, h100)).toBeCloseTo((1_000 * 3 * 16 * held) / 64e9, 3);
});

test('memory: what is on the card, what stays on the machine, and more than the parts that are surely needed', () => {
  const memory = {
    weightsBytes: 13n * GiB,
    loraBytes: GiB,
    optimizerBytes: 2n * GiB,
    activationsBytes: 5n * GiB,
    teachersBytes: 9n * GiB, // on a processor, teachers are kept in the machine's memory
    scratchBytes: GiB,
    totalBytes: 31n * GiB,
    availableBytes: 60n * GiB,
    processBytes: 100n,
    hostBytes: 0n,
    hostAvailableBytes: 0n,
    devices: 1,
    devicesThere: 1,
    stateBytes: 3n * GiB,
    ownStateBytes: 0n,
  };
  const shape = { ...settings, computeDtype: 'bf16' } as const;
  const planned = memoryOnCard(memory, model, shape, h100);
  expect(planned).toMatchObject({ weightsBytes: 13n * GiB, teachersBytes: 2n * GiB, availableBytes: 80_000_000_000n - GiB });
  const pieces = 2n * 2n ** 24n; // of a state in slices
  expect(planned.hostBytes).toBe(100n + 9n * GiB + pieces);
  expect(planned.hostAvailableBytes).toBe(planned.hostBytes); // the machine of the card is not this one
  const parts = planned.weightsBytes + planned.loraBytes + planned.optimizerBytes + planned.activationsBytes + planned.teachersBytes;
  expect(planned.totalBytes).toBe(parts + planned.scratchBytes);
  expect(planned.scratchBytes).toBeGreaterThan(GiB);
  expect(planned.scratchBytes).toBeLessThan(3n * GiB);
  // A card makes logits for 2,048 tokens at once, where a processor makes them for 512: a larger vocabulary takes that much more.
  const logits = (vocabularySize: number): bigint =>
    memoryOnCard(memory, { ...model, vocabularySize }, shape, h100).scratchBytes -
    memoryOnCard(memory, { ...model, vocabularySize }, { ...shape, batchSize: 1 }, h100).scratchBytes;
  expect(Number(logits(128_000) - logits(64_000))).toBe((2_048 - 512) * 64_000 * (2 * 4 + 2));
  const streamed = memoryOnCard(memory, model, { ...shape, streamWeights: true }, h100);
  expect(streamed.hostBytes - planned.hostBytes).toBe(planned.weightsBytes - streamed.weightsBytes);
  expect(streamed.totalBytes).toBeLessThan(planned.totalBytes - 11n * GiB);
  // An engine that has a card plans for it by itself, so only the available memory differs.
  const own = { ...memory, hostBytes: 1n, hostAvailableBytes: 2n };
  expect(memoryOnCard(own, model, shape, h100)).toEqual({ ...own, availableBytes: 80_000_000_000n - GiB, hostAvailableBytes: 1n });
  // While own weights learn, no snapshot instructs.
  const ofOwnWeights = memoryOnCard({ ...memory, teachersBytes: 0n, ownStateBytes: 3n * GiB }, model, shape, h100);
  expect([ofOwnWeights.teachersBytes, ofOwnWeights.hostBytes]).toEqual([0n, 100n + pieces]);
});

test('a card that is not in the table is refused with those that are', () => {
  for (const name of ['h100', 'toString', ''])
    expect(() => cardNamed(name)).toThrow(expect.objectContaining({ code: 'FIELD_UNKNOWN_VALUE', field: 'for_device' }));
  expect(() => cardNamed('h100')).toThrow('h100-80gb');
});
