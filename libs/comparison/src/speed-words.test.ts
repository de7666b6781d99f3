// Tests how ratios of speed are written.
import { speedWords, spreadWords } from './speed-words.js';

test('above 1 is faster, below 1 slower', () => {
  expect(speedWords({ times: 1.62, low: 1.58, high: 1.66 })).toBe('1.6x faster');
  expect(speedWords({ times: 0.8, low: 0.79, high: 0.81 })).toBe('1.25x slower');
});

test('no digit is shown that the spread does not allow', () => {
  expect(speedWords({ times: 1.624, low: 1.62, high: 1.63 })).toBe('1.62x faster');
  expect(speedWords({ times: 2.2, low: 1.9, high: 2.5 })).toBe('2x faster');
});

test('the number lies within its interval', () => {
  expect(speedWords({ times: 1.53, low: 1.43, high: 1.65 })).toBe('1.5x faster');
  expect(speedWords({ times: 2.42, low: 2.1, high: 2.9 })).toBe('2.4x faster');
  expect(speedWords({ times: 1.6249, low: 1.6248, high: 1.625 })).toBe('1.62x faster');
});

test('a wide interval around 1 tells nothing', () => {
  expect(speedWords({ times: 1.4, low: 0.95, high: 1.8 })).toBe('too noisy to tell');
  expect(speedWords({ times: 0, low: 0, high: 0 })).toBe('too noisy to tell');
});

test('only what may be either by little, or differs by less than a hundredth, is as fast', () => {
  expect(speedWords({ times: 1.01, low: 0.97, high: 1.05 })).toBe('as fast');
  expect(speedWords({ times: 1.002, low: 1.001, high: 1.003 })).toBe('as fast');
  expect(speedWords({ times: 1.31, low: 1.16, high: 1.45 })).toBe('1.3x faster');
  expect(speedWords({ times: 1.03, low: 1.001, high: 1.06 })).toBe('1.03x faster');
});

test('the spread is said beside it', () => {
  expect(spreadWords({ times: 1.62, low: 1.58, high: 1.66 })).toBe('1.58 to 1.66');
});
