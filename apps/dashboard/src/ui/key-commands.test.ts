import { commandOf, KEYS } from './key-commands.js';

describe('single keys', () => {
  test('ask for a search, the next row, or help', () => {
    expect(['/', 'j', 'k', '?'].map((key) => commandOf(key, ''))).toEqual(['search', 'next', 'previous', 'help'].map((kind) => ({ kind })));
    expect(commandOf('q', '')).toBeUndefined();
  });

  test('a g waits for the key that says where to go', () => {
    expect(commandOf('g', '')).toBe('wait');
    expect(commandOf('r', 'g')).toEqual({ kind: 'go', to: '/' });
    expect(commandOf('j', 'g')).toBeUndefined();
  });

  test('no two commands have the same keys', () => {
    expect(new Set(KEYS.map(([keys]) => keys)).size).toBe(KEYS.length);
  });
});
