import { ownChartsOf, ownChartsText, quantitiesOf, titleOf } from './own-charts.js';

describe('the charts that a reader adds', () => {
  test('are in the address, in their order, and only those that can be drawn', () => {
    const text = 'loss~open_heads;gradient_norm~tokens';
    const charts = ownChartsOf(`${text};colour~step;loss~colour;loss;${text}`);
    expect(charts).toEqual([
      { quantity: 'loss', axis: 'open_heads' },
      { quantity: 'gradient_norm', axis: 'tokens' },
    ]);
    expect(ownChartsText(charts)).toBe(text);
    expect([ownChartsOf(null), ownChartsOf('__proto__~step')]).toEqual([[], []]);
  });

  test('need their quantities, and say what is over what', () => {
    const charts = ownChartsOf('loss~open_heads;loss~tokens');
    expect(quantitiesOf(charts)).toEqual(['loss', 'open_heads']);
    expect(charts.map(titleOf)).toEqual(['Loss over open heads', 'Loss over tokens']);
  });
});
