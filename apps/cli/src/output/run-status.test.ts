import { v1 } from '#protocol';
import { testRun } from '../testing/test-server.js';
import { statusText, stepsInWords } from './run-status.js';

test('a lost engine is not taken for the phase of recovery', () => {
  expect(statusText(testRun({ status: v1.RunStatus.RUN_STATUS_RECOVERING, phase: 'recover' }))).toBe('recovering its engine');
});

test('steps are told by phase', () => {
  expect(stepsInWords({ totalSteps: 1400, recoverSteps: 0 })).toBe('1,400 steps');
  expect(stepsInWords({ totalSteps: 1, recoverSteps: undefined })).toBe('1 step');
  expect(stepsInWords({ totalSteps: 400, recoverSteps: 1000 })).toBe('400 steps, then 1,000 of recovery');
});
