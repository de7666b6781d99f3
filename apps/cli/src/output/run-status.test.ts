import { stepsInWords } from './run-status.js';

test('steps are told by phase', () => {
  expect(stepsInWords({ totalSteps: 1400, recoverSteps: 0 })).toBe('1,400 steps');
  expect(stepsInWords({ totalSteps: 1, recoverSteps: undefined })).toBe('1 step');
  expect(stepsInWords({ totalSteps: 400, recoverSteps: 1000 })).toBe('400 steps, then 1,000 of recovery');
});
