import { hasOutsidePath, HIDDEN_PATH, hidesPaths, withoutOutsidePaths } from './hidden-paths.js';
import type { Grant } from './access.js';

const roots = ['/srv/data'];
const shown = (text: string): string => withoutOutsidePaths({ text }, roots).text;

test.each([
  ['/home/ann/my texts/train.jsonl', HIDDEN_PATH],
  ['/srv/data/train.jsonl', '/srv/data/train.jsonl'],
  ['/srv/data/../ann', HIDDEN_PATH],
  ['/srv/database', HIDDEN_PATH],
  ['there is no model in /home/ann/models/a.b.', `there is no model in ${HIDDEN_PATH}.`],
  ['"/home/ann/x" and (/root/y), as in /srv/data/z', `"${HIDDEN_PATH}" and (${HIDDEN_PATH}), as in /srv/data/z`],
  ['{"model":{"path":"/home/ann/my models/m"},"n":1}', `{"model":{"path":"${HIDDEN_PATH}"},"n":1}`],
  ['{"path":"/srv/data/m"}', '{"path":"/srv/data/m"}'],
  ['12 tokens/s, 3 of 4 / half; http://host/a/b and ~/x', '12 tokens/s, 3 of 4 / half; http://host/a/b and ~/x'],
])('%s', (text, expected) => {
  expect(shown(text)).toBe(expected);
});

test('every text of a message is looked at, and all else stays', () => {
  const at = new Date();
  const bytes = Buffer.from('/home');
  const message = { run: { paths: ['/home/a', 'b'], step: 3n, at }, chunk: bytes };
  expect(withoutOutsidePaths(message, roots)).toEqual({ run: { paths: [HIDDEN_PATH, 'b'], step: 3n, at }, chunk: bytes });
  expect([hasOutsidePath({ path: '/home/a' }, roots), hasOutsidePath({ path: '/srv/data/a' }, roots)]).toEqual([true, false]);
});

test('paths are hidden from viewers alone, and shown to them where the server says so', () => {
  const token = (role: string): Grant => ({ kind: 'token', token: { role } }) as unknown as Grant;
  const hides = (grant: Grant, viewersReadTexts = false): boolean => hidesPaths(grant, { viewersReadTexts });
  expect([token('viewer'), token('operator'), token('admin'), { kind: 'owner' } as const].map((one) => hides(one))).toEqual([
    true,
    false,
    false,
    false,
  ]);
  expect(hides(token('viewer'), true)).toBe(false);
});
