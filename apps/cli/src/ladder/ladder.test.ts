// Tests which models of a ladder are on the front.
import { onFront } from '#comparison';
import { v1 } from '#protocol';
import { candidatesOf } from './measured-candidates.js';
import { smallestWithin, type Candidate } from './candidate.js';

function model(mark: Candidate['mark'], parameters: number, perplexity: number): Candidate {
  const same = { times: 1, low: 1, high: 1 };
  const speed = { prefillSeconds: 1, passSeconds: 1, prefillSpeedUp: same, decodeSpeedUp: same };
  return { mark, parameters, bytes: 2 * parameters, perplexity, sparsity: 0, ...speed };
}

const intact = model(null, 100, 5);
const good = model(1, 80, 5.5);
const worse = model(2, 80, 6);
const larger = model(3, 90, 5.5);
const small = model(4, 50, 9);
const last = model('last', 45, 11);
const all = [intact, good, worse, larger, small, last];

test('a model is on the front unless another is as small and as good and better in one of the two', () => {
  expect(all.filter((one) => onFront(one, all))).toEqual([intact, good, small, last]);
});

test('of two equal models both are on the front', () => {
  const twin = model(5, 80, 5.5);
  expect([...all, twin].filter((one) => onFront(one, [...all, twin]))).toEqual([intact, good, small, last, twin]);
});

test('the smallest that is good enough is chosen, never the model before pruning', () => {
  expect(smallestWithin(all, 6)).toBe(good);
  expect(smallestWithin(all, 9)).toBe(small);
  expect(smallestWithin(all, 11)).toBe(last);
  expect(smallestWithin(all, 5.2)).toBeUndefined();
});

test('a machine that slows down between two measurements changes no order of speeds', () => {
  const speed = (seconds: number, times: number, parameterCount: bigint): v1.ModelSpeed =>
    v1.ModelSpeed.fromPartial({
      parameterCount,
      bytes: 2n * parameterCount,
      prefillSeconds: seconds,
      passSeconds: seconds,
      prefillSpeedUp: { times, low: times, high: times },
      decodeSpeedUp: { times, low: times, high: times },
    });
  const rated = (mark: number, machine: number, times: number): Parameters<typeof candidatesOf>[1][number] => {
    const speeds = { dense: speed(machine, 1, 1000n), compact: speed(machine / times, times, 900n) };
    return { mark, perplexity: 5, speeds: { ...v1.SpeedOutcome.fromPartial({}), ...speeds } };
  };
  // The second state gains more over the intact model, although its own time was longer.
  const [before, first, second] = candidatesOf(4, [rated(1, 1, 1.1), rated(2, 3, 1.5)]);
  expect(before).toMatchObject({ mark: null, sparsity: 0, perplexity: 4, parameters: 1000, bytes: 2000, passSeconds: 2 });
  expect(first!.passSeconds).toBeCloseTo(2 / 1.1, 12);
  expect(second!.passSeconds).toBeCloseTo(2 / 1.5, 12);
  expect(second!.sparsity).toBeCloseTo(0.1, 12);
  expect(second).toMatchObject({ parameters: 900, decodeSpeedUp: { times: 1.5 } });
});
