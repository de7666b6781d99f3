import { rememberedOf, shareOf, withRemembered } from './chart-choices.js';

describe('how charts are shown', () => {
  test('an address without a choice gets the remembered ones, and keeps the rest', () => {
    const next = withRemembered(new URLSearchParams('steps=1-5'), { log: '1', smooth: '0.5', x: '' });
    expect(next?.toString()).toBe('steps=1-5&log=1&smooth=0.5');
  });

  test('an address with any choice of its own is shown as it is', () => {
    expect(withRemembered(new URLSearchParams('smooth=0'), { log: '1', smooth: '0.5' })).toBeNull();
    expect(withRemembered(new URLSearchParams(''), { log: '', smooth: '' })).toBeNull();
  });

  test('whatever was stored, only known choices come of it', () => {
    expect(rememberedOf('{"log":"1","evil":"x","smooth":3}', ['log', 'smooth'])).toEqual({ log: '1', smooth: '' });
    for (const stored of [null, '', '[', 'null', '3', '"text"']) expect(rememberedOf(stored, ['log'])).toEqual({ log: '' });
  });

  test('a share in an address is held within its range', () => {
    expect([null, '0.5', '7', '-1', 'x', 'Infinity'].map((text) => shareOf(text, 0.99))).toEqual([0, 0.5, 0.99, 0, 0, 0]);
  });
});
