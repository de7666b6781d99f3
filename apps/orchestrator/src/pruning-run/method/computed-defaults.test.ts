// Holds the digest of computed defaults, which commands compare with their server's, to the code that computes them.
import { COMPUTED_DEFAULTS, settingOfName, settingsTable, shortDefaultsDigest } from '#protocol';
import { resolveSettings, type RequestedSettings } from './run-settings.js';
import type { Budget } from '../record/pruning-run.events.js';

const anyOf = (name: 'preset' | 'recipe' | 'sparsityControl'): RequestedSettings[] =>
  settingOfName(name).allowed.map((word) => ({ [name]: word }));
const TARGETS: RequestedSettings[] = [
  { targetSparsity: 0.2 },
  { targetSparsity: 0.5 },
  { totalSteps: 100 },
  { recoverSteps: 100, recoverSchedule: 'cosine' },
  { recoverSteps: 100, recoverWeights: 'lora' },
];
const MODELS = [undefined, { hiddenSize: 576, maxPositions: 128 }];
const SECONDS: Budget = { setting: 'targetSpeedup', intact: 1, least: 0.2, kvHeads: 2, cost: [] };

test('a command knows the computed defaults of its release', () => {
  const requests = [anyOf('preset'), anyOf('recipe'), anyOf('sparsityControl'), TARGETS].reduce((made, more) =>
    made.flatMap((one) => more.map((another) => ({ ...one, ...another }))),
  );
  const defaults = requests.flatMap((request) => [
    ...MODELS.map((model) => resolveSettings(request, model)),
    resolveSettings({ targetSpeedup: 2, ...request }, undefined, SECONDS),
  ]);
  const names = settingsTable().flatMap(({ name, computed }) => (computed ? [name] : []));
  const inOrder = defaults.map((settings) => [...names, 'totalSteps' as const].map((name) => settings[name]));
  // After another default, this line has received the digest that COMPUTED_DEFAULTS must be.
  expect(shortDefaultsDigest(inOrder)).toBe(COMPUTED_DEFAULTS);
});
