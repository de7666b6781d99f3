import { v1 } from '#protocol';
import { testRun } from '../testing/test-server.js';
import { statusText, stepsInWords } from './run-status.js';

test('a lost engine is not taken for the phase of recovery', () => {
  expect(statusText(testRun({ status: v1.RunStatus.RUN_STATUS_RECOVERING, phase: 'recover' }))).toBe('recovering its engine');
});

test('a run with all its steps is evaluated, also while a restarted engine loads its model again', () => {
  const { RUN_STATUS_TRAINING, RUN_STATUS_PREPARING, RUN_STATUS_QUEUED } = v1.RunStatus;
  const at = (step: bigint, status: v1.RunStatus) =>
    statusText(testRun({ status, step, phases: [], settings: v1.RunSettings.fromPartial({ totalSteps: 46 }) }));
  expect([RUN_STATUS_TRAINING, RUN_STATUS_PREPARING, RUN_STATUS_QUEUED].map((status) => at(46n, status))).toEqual([
    'evaluating',
    'evaluating',
    'queued',
  ]);
  expect(at(45n, RUN_STATUS_PREPARING)).toBe('preparing');
});

test('steps are told by phase', () => {
  expect(stepsInWords({ totalSteps: 1400, recoverSteps: 0 })).toBe('1,400 steps');
  expect(stepsInWords({ totalSteps: 1, recoverSteps: undefined })).toBe('1 step');
  expect(stepsInWords({ totalSteps: 400, recoverSteps: 1000 })).toBe('400 steps, then 1,000 of recovery');
});
