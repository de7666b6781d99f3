// Tests which difference of a repeated scan is reported.
import type { LayerScan } from '../../pruning-run/record/pruning-run.events.js';
import { firstScanDifference } from './step-difference.js';

const scan = (layer: number, kl: number, kept = 4): LayerScan => ({ layer, forms: [{ attention: true, kept, kl, loss: 0.5 }] });

test('equal scores of all layers are no difference', () => {
  expect(firstScanDifference([scan(0, 0.25), scan(1, 0.5)], [scan(0, 0.25), scan(1, 0.5)])).toBeNull();
  expect(firstScanDifference([], [])).toBeNull();
});

test('the first layer with another score is named, with both values', () => {
  const differing = firstScanDifference([scan(0, 0.25), scan(1, 0.5)], [scan(0, 0.25), scan(1, 0.5 + 2 ** -52)]);
  expect(differing).toEqual({ step: 1, quantity: 'kl of attention_4', recorded: 0.5, computed: 0.5 + 2 ** -52 });
  expect(firstScanDifference([scan(0, 0.25)], [scan(0, 0.25, 6)])).toMatchObject({ quantity: 'kept of attention_4', computed: 6 });
  expect(firstScanDifference([scan(0, 0.25)], [])).toMatchObject({ step: 0, quantity: 'forms', recorded: 1, computed: 0 });
});

test('a tolerance lets scores differ, but not the forms', () => {
  expect(firstScanDifference([scan(0, 1)], [scan(0, 1.0005)], 1e-3)).toBeNull();
  expect(firstScanDifference([scan(0, 1)], [scan(0, 1, 3)], 1e-3)).toMatchObject({ quantity: 'kept of attention_4' });
});
