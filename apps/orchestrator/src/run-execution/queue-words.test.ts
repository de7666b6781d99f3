import { queueWords } from './queue-words.js';

const busy = (count: number) => Array.from({ length: count }, (_, index) => ({ name: `local-${index + 1}`, runId: `run${index + 1}` }));

test('a queued run says which engines are busy, and how many runs stand before it', () => {
  expect(queueWords(busy(1), 0)).toBe('an engine that is free: local-1 works for run run1');
  expect(queueWords(busy(1), 2)).toBe('an engine that is free: local-1 works for run run1; 2 runs stand before it');
  expect(queueWords(busy(5), 1)).toBe(
    'an engine that is free: local-1 works for run run1, local-2 works for run run2, local-3 works for run run3, ' +
      '2 engines more for others; 1 run stands before it',
  );
  expect(queueWords([], 0)).toBe('an engine that is free');
});
