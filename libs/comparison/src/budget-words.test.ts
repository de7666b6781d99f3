import { amountAsTyped, budgetPlanWords, budgetWords, limitsAsTyped, otherTargets, targetWords } from '#comparison';

const budget = { unit: 'parameters', asked: 1_500_000, intactSize: 3_443_136, least: 172_156.8 };

test('a budget is told as asked, predicted and measured, as far as these are known', () => {
  expect(budgetWords(budget)).toBe('asked 1,500,000 of 3,443,136 parameters (43.6%)');
  expect(budgetWords({ ...budget, predicted: 1_499_904.2, measured: 1_499_904 })).toBe(
    'asked 1,500,000 of 3,443,136 parameters (43.6%); predicted 1,499,904; measured 1,499,904',
  );
  expect(budgetPlanWords({ ...budget, prunableSparsity: 0.618 })).toBe(
    '1,500,000 of 3,443,136 parameters: 56.4% of them go, by about 61.8% of the prunable parameters; at least 172,157 stay',
  );
});

test('bytes are told in larger units too', () => {
  const bytes = { unit: 'bytes', asked: 2.5 * 1024 ** 3, intactSize: 4 * 1024 ** 3, least: 1024 ** 3 };
  expect(budgetWords(bytes)).toBe('asked 2,684,354,560 of 4,294,967,296 bytes (2.5GiB, 62.5%)');
  expect(budgetPlanWords(bytes)).toBe(
    '2,684,354,560 of 4,294,967,296 bytes: 37.5% of them go; at least 1,073,741,824 stay (1.00 GiB of 4.00 GiB)',
  );
});

test.each([
  [102_400, '100KiB'],
  [64_000, '64kB'],
  [524_288, '512KiB'],
  [2 * 1024 ** 4, '2TiB'],
  [1_234_000, '1.234MB'],
  [1_234_567, '1.23MB'],
  [500, '500B'],
])('%d bytes are told as they were typed: %s', (bytes, typed) => {
  expect(amountAsTyped(bytes, 'bytes')).toBe(typed);
});

test('limits are told in the form of what was asked, and keep to what is allowed', () => {
  const limits = { least: 1_468_007, most: 13_631_487 };
  expect(limitsAsTyped({ ...limits, asked: 102_400 }, 'bytes')).toBe('1.401MiB to 12.99MiB');
  expect(limitsAsTyped({ ...limits, asked: 64_000 }, 'bytes')).toBe('1.469MB to 13.63MB');
  expect(limitsAsTyped({ ...limits, asked: 1_000 }, 'parameters')).toBe('1.469M to 13.63M');
  expect(limitsAsTyped({ least: 90, most: 900, asked: 1 }, 'parameters')).toBe('90 to 900');
  expect(amountAsTyped(2_100_000, 'parameters')).toBe('2.1M');
});

test('a target in seconds is told in milliseconds and as a ratio', () => {
  const speed = { unit: 'seconds', asked: 0.02, intactSize: 0.032, least: 0.004 };
  expect(budgetWords({ ...speed, predicted: 0.01998 })).toBe('asked 20 of 32 ms (1.60x); predicted 19.98 (1.60x)');
  expect(budgetPlanWords(speed)).toBe('20 of 32 ms: 37.5% of them go; at least 4 stay (8.00x at most)');
});

test('a repeated run leaves out all targets but its own', () => {
  expect(otherTargets({ targetSparsity: 0.5, targetParams: 0, recoverSteps: 0 })).toEqual([
    'target_params',
    'target_bytes',
    'target_macs',
    'target_speedup',
    'speed_table',
    'time',
  ]);
  expect(otherTargets({ targetSparsity: 0.4, targetMacs: 0.6, recoverSteps: 40 })).toEqual([
    'target_sparsity',
    'target_params',
    'target_bytes',
    'target_speedup',
    'speed_table',
    'time',
  ]);
  expect(otherTargets({ targetSparsity: 0.4, targetSpeedup: 1.6, time: 60 })).toEqual([
    'target_sparsity',
    'target_params',
    'target_bytes',
    'target_macs',
    'total_steps', // they are still to be chosen by the time
  ]);
});

test('a target is a sparsity or the budget in its place', () => {
  expect(targetWords({ targetSparsity: 0.5 })).toBe('50%');
  expect(targetWords({ targetSparsity: 0.5, targetParams: 0 }, 1)).toBe('50.0%');
  expect(targetWords({ targetSparsity: 0.56, targetParams: 1.1e9 })).toBe('1.1G parameters');
  expect(targetWords({ targetParams: 1_234_000 })).toBe('1.234M parameters');
  expect(targetWords({ targetSparsity: 0.56, targetBytes: 2.5 * 1024 ** 3 })).toBe('2.5GiB');
  expect([800e6, 0.3 * 1024 ** 3, 2e6, 1_234_567_891].map((one) => targetWords({ targetBytes: Math.round(one) }))).toEqual([
    '800MB',
    '307.2MiB',
    '2MB',
    '1.23GB',
  ]);
  expect(targetWords({ targetSparsity: 0.4, targetMacs: 0.6, recoverSteps: 40 })).toBe('60% of the multiply-adds');
  expect(targetWords({ targetSparsity: 0.375, targetSpeedup: 1.6 })).toBe('1.6x as fast');
  expect(targetWords({})).toBe('-');
});
