import { smoothingOf } from './smoothing-steps.js';

test('an address smooths over an offered number of steps, or not at all', () => {
  expect([null, '20', '7', '-1', 'x', 'Infinity'].map(smoothingOf)).toEqual([0, 20, 0, 0, 0, 0]);
});
