import { memoryWarnings } from './memory-warnings.js';

test('weights are streamed to a card only: where the processor computes, the setting is said to change nothing', () => {
  expect(memoryWarnings({ streamWeights: true }, { hostBytes: 0n })).toMatchObject([
    { code: 'NOTHING_TO_STREAM', field: 'settings.stream_weights' },
  ]);
  expect(memoryWarnings({ streamWeights: true }, { hostBytes: 1n })).toEqual([]);
  expect(memoryWarnings({ streamWeights: false }, { hostBytes: 0n })).toEqual([]);
});
