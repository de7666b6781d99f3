import { reachedWords, shareGone } from '#comparison';

test('runs with different targets are compared by the parameters that are gone, and each names the share that its target counts', () => {
  const [left, bytes] = [{ parameterCount: 2_000n }, { setting: 'target_bytes' }];
  const pruned = { parameterCount: 5_000n, result: left };
  expect(shareGone(pruned)).toBeCloseTo(0.6, 12);
  expect([reachedWords(0.501, undefined), reachedWords(0.462, bytes)]).toEqual(['50.1% of prunable', '46.2% of bytes']);
});

test('a run without a state has no such share', () => {
  expect(shareGone({ parameterCount: 5_000n })).toBeNaN();
  expect(shareGone({ parameterCount: 0n, result: { parameterCount: 0n } })).toBeNaN();
});
