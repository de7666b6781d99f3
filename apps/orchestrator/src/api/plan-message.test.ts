// Tests what a plan says of a budget, on the bundled model.
import { budgetsOf } from '../pruning-run/method/budget.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import type { Budget } from '../pruning-run/record/pruning-run.events.js';
import { groupedShape as shape, model } from '../pruning-run/testing.js';
import { budgetPlan } from './plan-message.js';

const ofParameters = budgetsOf(resolveSettings({ targetParams: 150_000 }), shape)[0]!;

const planned = (requested: RequestedSettings, budget: Budget) =>
  budgetPlan({ model, shape, settings: resolveSettings(requested, undefined, budget) }, budget, requested);

test('a budget of parameters leads to about as many, and to a sparsity', () => {
  const { result, message } = planned({ targetParams: 150_000 }, ofParameters);
  expect(result!.parameterCount).toBe(150_000);
  expect(message.prunableSparsity).toBeGreaterThan(0.4);
  expect(message.prunableShareDecides).toEqual(['mask_noise', 'recover_learning_rate']);
});

test('seconds lead to no size: the run closes the gates that save seconds, which may be few or most', () => {
  const inSeconds: Budget = { ...ofParameters, setting: 'targetSpeedup' };
  const { result, message } = planned({ targetSpeedup: 1.5 }, inSeconds);
  expect([result, message.prunableSparsity, message.prunableShare]).toEqual([undefined, undefined, undefined]);
  expect(message.asked).toBeCloseTo(254_400 / 1.5, 6);
});
