import { budgetPlanWords, budgetWords, otherTargets, targetWords } from '#comparison';

const budget = { unit: 'parameters', asked: 1_500_000, intact: 3_443_136, least: 172_156.8 };

test('a budget is told as asked, predicted and measured, as far as these are known', () => {
  expect(budgetWords(budget)).toBe('asked 1,500,000 of 3,443,136 parameters (43.6%)');
  expect(budgetWords({ ...budget, predicted: 1_499_904.2, measured: 1_499_904 })).toBe(
    'asked 1,500,000 of 3,443,136 parameters (43.6%); predicted 1,499,904; measured 1,499,904',
  );
  expect(budgetPlanWords({ ...budget, prunableSparsity: 0.618 })).toBe(
    '1,500,000 of 3,443,136 parameters: 56.4% of them go, by about 61.8% of the prunable parameters; at least 172,157 stay',
  );
});

test('a repeated run leaves out all targets but its own', () => {
  expect(otherTargets({ targetSparsity: 0.5, targetParams: 0 })).toEqual(['target_params', 'target_bytes', 'target_macs']);
  expect(otherTargets({ targetSparsity: 0.4, targetMacs: 0.6 })).toEqual(['target_sparsity', 'target_params', 'target_bytes']);
});

test('a target is a sparsity or the budget in its place', () => {
  expect(targetWords({ targetSparsity: 0.5 })).toBe('50%');
  expect(targetWords({ targetSparsity: 0.5, targetParams: 0 }, 1)).toBe('50.0%');
  expect(targetWords({ targetSparsity: 0.56, targetParams: 1.1e9 })).toBe('1.1G parameters');
  expect(targetWords({ targetSparsity: 0.56, targetBytes: 2.5 * 1024 ** 3 })).toBe('2.68GB');
  expect(targetWords({ targetSparsity: 0.4, targetMacs: 0.6 })).toBe('60% of the multiply-adds');
  expect(targetWords({})).toBe('-');
});
