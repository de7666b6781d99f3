import { rememberedOf, withRemembered } from './chart-choices.js';

describe('how charts are shown', () => {
  test('an address without a choice gets the remembered ones, and keeps the rest', () => {
    const next = withRemembered(new URLSearchParams('steps=1-5'), { log: '1', marks: '0', x: '' });
    expect(next?.toString()).toBe('steps=1-5&log=1&marks=0');
  });

  test('an address with any choice of its own is shown as it is', () => {
    expect(withRemembered(new URLSearchParams('marks=0'), { log: '1', marks: '0' })).toBeNull();
    expect(withRemembered(new URLSearchParams(''), { log: '', marks: '' })).toBeNull();
  });

  test('whatever was stored, only known choices come of it', () => {
    expect(rememberedOf('{"log":"1","evil":"x","marks":3}', ['log', 'marks'])).toEqual({ log: '1', marks: '' });
    for (const stored of [null, '', '[', 'null', '3', '"text"']) expect(rememberedOf(stored, ['log'])).toEqual({ log: '' });
  });
});
