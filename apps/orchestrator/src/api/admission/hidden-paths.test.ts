import { EspalierError, unary } from '#protocol';
import { Guard } from './call-guard.js';
import { errorWithoutOutsidePaths, hasOutsidePath, HIDDEN_PATH, hidesPaths, withoutOutsidePaths } from './hidden-paths.js';
import type { Grant } from './access.js';

const roots = ['/srv/data'];
const shown = (text: string): string => withoutOutsidePaths({ text }, roots).text;

test.each([
  ['/home/ann/my texts/train.jsonl', HIDDEN_PATH],
  ['/srv/data/train.jsonl', '/srv/data/train.jsonl'],
  ['/srv/data/../ann', HIDDEN_PATH],
  ['/srv/database', HIDDEN_PATH],
  ['there is no model in /home/ann/models/a.b.', `there is no model in ${HIDDEN_PATH}`],
  ['"/home/ann/x" and \'/root/a b\', as in /srv/data/z', `"${HIDDEN_PATH}" and '${HIDDEN_PATH}', as in /srv/data/z`],
  // Without quotes a path may go on behind a space, a comma or a bracket.
  ['no text in /home/ann/my texts (old), 2/t.jsonl\nas before', `no text in ${HIDDEN_PATH}\nas before`],
  ['/srv/data/t is a copy of /home/ann/my texts/t', `/srv/data/t is a copy of ${HIDDEN_PATH}`],
  ['/srv/data/my texts/t is gone', '/srv/data/my texts/t is gone'],
  ['{"message":"no text in /home/ann/my texts/\\"t\\"","n":1}', `{"message":"no text in ${HIDDEN_PATH}","n":1}`],
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

test('an error keeps its code and its fields, without the paths in its words; one without such paths stays as it is', () => {
  const violations = [{ field: 'data.train_path', description: '/home/ann/t is gone', code: 'DATA_NOT_FOUND' }];
  const error = new EspalierError('DATA_NOT_FOUND', 'no text in /home/ann/t', { violations, metadata: { path: '/home/ann/t' } });
  expect(errorWithoutOutsidePaths(error, roots)).toMatchObject({
    code: 'DATA_NOT_FOUND',
    message: `no text in ${HIDDEN_PATH}`,
    violations: [{ field: 'data.train_path', description: HIDDEN_PATH }],
    metadata: { path: HIDDEN_PATH },
  });
  expect(errorWithoutOutsidePaths(new Error("ENOENT: open '/home/ann/x'"), roots)).toMatchObject({ code: 'INTERNAL' });
  const harmless = new EspalierError('RUN_NOT_FOUND', 'there is no run abcd');
  expect(errorWithoutOutsidePaths(harmless, roots)).toBe(harmless);
});

test.each([
  ['viewer', `no model in ${HIDDEN_PATH}`],
  ['operator', 'no model in /home/ann/m'],
])('a failed call of a %s says: %s', async (role, expected) => {
  const grant = { kind: 'token', token: { role } };
  const access = { requireRole: () => undefined, hold: () => undefined };
  const callers = { grantOf: () => grant, actorOf: () => 'token:t' };
  const config = { viewersReadTexts: false, dataRoots: roots };
  const unused = null as never;
  const guard = new Guard(access as never, callers as never, unused, unused, unused, unused, config as never);
  const handler = guard.of(
    { path: '/espalier.v1.RunService/GetRun', responseStream: false },
    unary(() => Promise.reject(new EspalierError('MODEL_NOT_FOUND', 'no model in /home/ann/m'))),
  ) as unknown as (call: object, done: (error: { details: string }) => void) => void;
  const call = { request: { runId: 'abcd' }, metadata: { get: () => [] }, on: () => undefined, getPath: () => '', cancelled: false };
  expect((await new Promise<{ details: string }>((resolve) => handler(call, resolve))).details).toBe(expected);
});
