import { resolveSettings, type RequestedSettings } from '../method/run-settings.js';
import { recipeAdvice } from './recipe-advice.js';

const advice = (settings: RequestedSettings): string[] => recipeAdvice(resolveSettings(settings)).map(({ message }) => message);

test('the default needs no advice, nor does a baseline, nor a target at which no recipe gains', () => {
  expect(advice({})).toEqual([]);
  expect(advice({ recipe: 'wanda' })).toEqual([]);
  expect(advice({ preset: 'short', targetSparsity: 0.2 })).toEqual([]);
});

test('pruning alone is told what recovery of all weights is worth, at the measured target that is nearest', () => {
  expect(advice({ preset: 'short' })).toEqual([expect.stringContaining('at 50%, pruning alone')]);
  expect(advice({ preset: 'short', recipe: 'distill', targetSparsity: 0.9 })).toEqual([expect.stringContaining('at 70%, pruning alone')]);
  expect(advice({ preset: 'short', recoverSteps: 100 })).toHaveLength(1); // only LoRA recovers
  expect(advice({ preset: 'short', recoverSteps: 100, recoverWeights: 'all' })).toEqual([]);
});
