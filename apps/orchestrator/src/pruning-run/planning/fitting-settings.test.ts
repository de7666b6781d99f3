import type { RunSettings } from '../record/pruning-run.events.js';
import { resolveSettings } from '../method/run-settings.js';
import { fittingSettings } from './fitting-settings.js';

// An engine with memory needs that can be worked out by hand.
const WEIGHTS = 100;
const settings = resolveSettings({ preset: 'short', batchSize: 12, sequenceLength: 256, microShards: 1 });

function needed({ batchSize, microShards, sequenceLength, checkpointActivations, streamWeights }: RunSettings): number {
  const rows = (batchSize / microShards) * (sequenceLength / 256);
  return (streamWeights ? WEIGHTS / 10 : WEIGHTS) + rows * (checkpointActivations ? 10 : 40);
}

async function found(available: number, { hasCard = false, from = settings } = {}): Promise<Partial<RunSettings> | null> {
  let asked = 0;
  const plan = (tried: RunSettings) => {
    asked += 1;
    expect(tried.batchSize % tried.microShards).toBe(0);
    return Promise.resolve({
      totalBytes: BigInt(Math.ceil(needed(tried))),
      availableBytes: BigInt(available),
      hostBytes: 0n,
      hostAvailableBytes: 0n,
    });
  };
  const fitted = await fittingSettings(from, hasCard, plan);
  expect(asked).toBeLessThan(40);
  if (fitted === null) return null;
  expect(needed(fitted.settings)).toBeLessThanOrEqual(available); // the settings fit
  expect(fitted.settings.batchSize).toBe(from.batchSize); // the method does not change
  const names = ['microShards', 'checkpointActivations', 'streamWeights', 'sequenceLength'] as const;
  return Object.fromEntries(names.filter((name) => fitted.settings[name] !== from[name]).map((name) => [name, fitted.settings[name]]));
}

test.each<[number, Partial<RunSettings>]>([
  [220, { checkpointActivations: true }], // checkpoints change no result, so they come first
  [219, { microShards: 6 }], // two sequences at a time fit, three do not
  [140, { microShards: 12 }],
  [139, { microShards: 4, checkpointActivations: true }],
  [110, { microShards: 12, checkpointActivations: true }],
  [109, { microShards: 12, checkpointActivations: true, sequenceLength: 192 }],
])('with room for %d of a plan of 580 the least that helps is %j', async (available, change) => {
  expect(await found(available)).toEqual(change);
});

test('weights are streamed to a card only, and after all else that keeps the method', async () => {
  expect(await found(110, { hasCard: true })).toEqual({ microShards: 12, checkpointActivations: true });
  expect(await found(109, { hasCard: true })).toEqual({ microShards: 6, streamWeights: true });
  expect(await found(20, { hasCard: true })).toEqual({ microShards: 12, checkpointActivations: true, streamWeights: true });
  expect(await found(18, { hasCard: true })).toMatchObject({ sequenceLength: 192, streamWeights: true });
});

test('there may be no such settings, and what was asked for stays', async () => {
  expect(await found(101)).toBeNull();
  expect(await found(220, { from: { ...settings, checkpointActivations: true, microShards: 2 } })).toEqual({});
  expect(await found(130, { from: { ...settings, checkpointActivations: true, microShards: 2 } })).toEqual({ microShards: 4 });
});

test('where all weights do not fit even in the shortest sequences, those of the layers may, or LoRA', async () => {
  const all = resolveSettings({ preset: 'nuteprune2', batchSize: 4, sequenceLength: 128, microShards: 1 });
  expect(all.recoverWeights).toBe('all');
  const ofWeights = (available: number) =>
    fittingSettings(all, false, ({ recoverWeights, microShards }) =>
      Promise.resolve({
        totalBytes: BigInt({ all: 1_000, layers: 800, lora: 100 }[recoverWeights] + 40 / microShards),
        availableBytes: BigInt(available),
        hostBytes: 0n,
        hostAvailableBytes: 0n,
      }),
    );
  expect((await ofWeights(1_020))?.settings).toMatchObject({ recoverWeights: 'all', microShards: 2 });
  expect((await ofWeights(840))?.settings).toMatchObject({ recoverWeights: 'layers', microShards: 1 });
  expect((await ofWeights(500))?.settings).toMatchObject({ recoverWeights: 'lora', microShards: 1 });
  expect(await ofWeights(90)).toBeNull();
});
