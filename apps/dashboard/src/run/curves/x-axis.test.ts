import { isRising, lookOfAxis, placeOfStep, placesOf, stepAtPlace, X_AXES, xAxisOf, type Placing } from './x-axis.js';

const steps = [9, 19, 29];

describe('places on the x axis', () => {
  test('are steps, tokens, seconds of training or the time of day', () => {
    const times = { seconds: [1, 2, 4], endedAt: [1001, 1003, 1107], curves: [] };
    expect(placesOf(steps, times, 64, 'step')).toEqual([9, 19, 29]);
    expect(placesOf(steps, times, 64, 'tokens')).toEqual([640, 1280, 1920]);
    expect(placesOf(steps, times, 64, 'time')).toEqual([1, 3, 7]);
    expect(placesOf(steps, times, 64, 'clock')).toEqual([1001, 1003, 1107]);
  });

  test('are the values of another quantity, which need not rise, and are missing where it has none', () => {
    const curves = [{ quantity: 'parameters', mean: [NaN, 900, 700] }] as unknown as Placing['curves'];
    const placing = { seconds: [], endedAt: [], curves };
    expect(placesOf(steps, placing, 64, 'parameters')).toEqual([NaN, 900, 700]);
    expect(placesOf(steps, placing, 64, 'expected_sparsity')).toEqual([NaN, NaN, NaN]);
    expect([isRising('parameters'), isRising('tokens')]).toEqual([false, true]);
  });

  test('are of any quantity that is recorded, and of no other', () => {
    expect(X_AXES).toMatchObject({ step: 'step', gradient_norm: 'gradient norm', kl_loss: 'KL to the teacher, before its weight' });
    expect(['open_heads', 'colour', 'toString', null].map(xAxisOf)).toEqual(['open_heads', 'step', 'step', 'step']);
    expect(['clock', 'hard_sparsity', 'loss'].map(lookOfAxis)).toEqual(['clock', 'share', 'count']);
  });

  test('a step between two points lies between their places, and one beyond all points has none', () => {
    expect(placeOfStep(24, steps, [1, 3, 7])).toBe(5);
    expect(placeOfStep(9, steps, [1, 3, 7])).toBe(1);
    expect(placeOfStep(3, steps, [1, 3, 7])).toBeNull();
    expect(placeOfStep(30, steps, [1, 3, 7])).toBeNull();
  });

  test('a place that was chosen by zooming is a step again', () => {
    expect(stepAtPlace(5, steps, [1, 3, 7])).toBe(24);
    expect(stepAtPlace(-5, steps, [1, 3, 7])).toBe(9);
    expect(stepAtPlace(99, steps, [1, 3, 7])).toBe(29);
    expect(stepAtPlace(1, [], [])).toBe(0);
  });
});
