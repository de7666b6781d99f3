// The commands that single keys give. A key that is pressed within a field, or with Ctrl, Alt or Meta, is no command.

export type KeyCommand = { kind: 'search' | 'help' | 'next' | 'previous' | 'choose' } | { kind: 'go'; to: string };

/** Each key, and what it does in words. */
export const KEYS: readonly (readonly [keys: string, words: string, command: KeyCommand])[] = [
  ['/', 'find runs by name', { kind: 'search' }],
  ['j', 'to the next row of the list', { kind: 'next' }],
  ['k', 'to the row before', { kind: 'previous' }],
  ['x', 'choose the row, for a comparison', { kind: 'choose' }],
  ['g r', 'go to the runs', { kind: 'go', to: '/' }],
  ['g s', 'go to the studies', { kind: 'go', to: '/studies' }],
  ['g c', 'go to the comparison', { kind: 'go', to: '/compare' }],
  ['g v', 'go to the server', { kind: 'go', to: '/server' }],
  ['?', 'show these keys', { kind: 'help' }],
];

/**
 * @param before the key pressed before, where it was the first of two
 * @returns the command; 'wait' where a second key has to follow; undefined where the keys say nothing
 */
export function commandOf(key: string, before: string): KeyCommand | 'wait' | undefined {
  const pressed = before === '' ? key : `${before} ${key}`;
  if (KEYS.some(([keys]) => keys.startsWith(`${pressed} `))) return 'wait';
  return KEYS.find(([keys]) => keys === pressed)?.[2];
}
