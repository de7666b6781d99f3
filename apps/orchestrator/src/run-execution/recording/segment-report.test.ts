// Tests how the engine's reports turn into what is recorded: the key/value heads that are left, and the figures of steps.
import { engineV1 } from '#protocol';
import type { SegmentPlan } from '../../pruning-run/planning/segment-plan.js';
import { resolveSettings } from '../../pruning-run/method/run-settings.js';
import { model } from '../../pruning-run/testing.js';
import { kvHeadsOpen, scansOf, stepMeasurement } from './segment-report.js';

test('a price of sparsity that is no number any more ends the run, and the error names the rate to lower', () => {
  const report = engineV1.StepReport.fromPartial({ step: 4n, loss: 1, lambda1: 0.5, lambda2: -0.5 });
  const plan = { stretches: [] } as unknown as SegmentPlan;
  expect(stepMeasurement(report, plan)).toMatchObject({ step: 4, lambda1: 0.5, lambda2: -0.5 });
  for (const price of [{ lambda1: -Infinity }, { lambda2: NaN }])
    expect(() => stepMeasurement({ ...report, ...price }, plan)).toThrow(
      expect.objectContaining({ code: 'TRAINING_DIVERGED', field: 'settings.lambda_learning_rate' }),
    );
});

test('a key/value head is left where an open head reads it', () => {
  // Two layers of 4 heads, which read 2 key/value heads. Heads 0 and 1 of the first layer are open, and head 2 of the second.
  expect(
    kvHeadsOpen(
      [
        { heads: 4, units: 1 },
        { heads: 4, units: 1 },
      ],
      2,
      Uint8Array.of(0b0100_0011),
    ),
  ).toEqual([1, 1]);
  expect(
    kvHeadsOpen(
      [
        { heads: 4, units: 1 },
        { heads: 4, units: 1 },
      ],
      2,
      Uint8Array.of(0b0000_1001),
    ),
  ).toEqual([2, 0]);
});

test('a scan has the finite scores of its steps, layer by layer, and another run has none', () => {
  const run = { settings: resolveSettings({ recipe: 'scan' }, model), model };
  const scan = (layer: number, change: object = {}) => ({ layer, forms: [{ attention: true, kept: 4, kl: 0.1, loss: 0.2, ...change }] });
  expect(scansOf(run, 1, 2, [scan(1), scan(2)])).toEqual([scan(1), scan(2)]);
  const refused = expect.objectContaining({ code: 'ENGINE_FAILED' }) as Error;
  for (const scans of [[], [scan(1)], [scan(2), scan(1)], [scan(1), scan(2, { kl: NaN })], [scan(1), scan(2, { kept: 8 })]])
    expect(() => scansOf(run, 1, 2, scans)).toThrow(refused);
  const other = { settings: resolveSettings({ recipe: 'distill' }, model), model };
  expect(scansOf(other, 1, 2, [])).toEqual([]);
  expect(() => scansOf(other, 1, 2, [scan(1), scan(2)])).toThrow(refused);
});
