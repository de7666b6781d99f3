import { trainParts } from './train-parts.js';

const PATHS = ['/a', '/b', '/c'];

test('parts add up to a million, whatever the scale of the weights', () => {
  expect(trainParts(PATHS.slice(0, 2), [0.7, 0.3])).toEqual([700_000, 300_000]);
  expect(trainParts(PATHS.slice(0, 2), [70, 30])).toEqual([700_000, 300_000]);
  expect(trainParts(PATHS, [1, 1, 1])).toEqual([333_334, 333_333, 333_333]);
  expect(trainParts(PATHS, [1e9, 1e9, 2e3])).toEqual([500_000, 499_999, 1]);
});

test('parts that a client reads and gives again stay the same', () => {
  for (const weights of [
    [1, 1, 1],
    [3, 5, 7.25],
    [1e-5, 1, 0.1],
  ]) {
    const parts = trainParts(PATHS, weights)!;
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(1_000_000);
    expect(
      trainParts(
        PATHS,
        parts.map((part) => part / 1_000_000),
      ),
    ).toEqual(parts);
  }
});

test('without weights, or with that of a single path, there is one source', () => {
  expect(trainParts(PATHS, undefined)).toBeUndefined();
  expect(trainParts(['/a'], [0.7])).toBeUndefined();
});

test.each([
  ['a weight too few', PATHS, [1, 1], 'data.train_weights', /2 weights for 3 paths/],
  ['zero', PATHS, [1, 0, 1], 'data.train_weights[1]', /every path has a weight, or none/],
  ['negative', PATHS, [1, 1, -2], 'data.train_weights[2]', /the weight of \/c must be above 0 and at most 1000000000, is -2/],
  ['no number', PATHS, [NaN, 1, 1], 'data.train_weights[0]', /is NaN/],
  ['endless', PATHS, [Infinity, 1, 1], 'data.train_weights[0]', /is Infinity/],
  ['too small beside the others', PATHS, [1, 1, 1e-7], 'data.train_weights[2]', /the weight of \/c is less than a millionth/],
  ['a path twice', ['/a', '/b', '/a'], [1, 1, 1], 'data.more_train_paths[1]', /\/a is named twice/],
  ['too many', Array.from({ length: 65 }, (_, i) => `/${i}`), Array<number>(65).fill(1), 'data.train_weights', /at most 64 sources/],
])('%s is refused by name', (_, paths, weights, field, message) => {
  expect(() => trainParts(paths, weights)).toThrow(
    expect.objectContaining({ code: 'REQUEST_INVALID', field, message: expect.stringMatching(message) }),
  );
});
