import { v1 } from '#protocol';
import { testRun } from '../testing/test-server.js';
import { missWords, statusText, stepsInWords } from './run-status.js';

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

test('a missed target is blamed on the steps only where the masks did not learn it', () => {
  const words = (expectedSparsity: number, shapeTarget: v1.ShapeTarget) =>
    missWords(
      testRun({ hardSparsity: 0.43, expectedSparsity, settings: v1.RunSettings.fromPartial({ targetSparsity: 0.5, shapeTarget }) }),
    );
  const { SHAPE_TARGET_FREE, SHAPE_TARGET_VLLM } = v1.ShapeTarget;
  const missed = 'the target was missed: sparsity 43.0% instead of 50.0%';
  expect(words(0.44, SHAPE_TARGET_VLLM)).toBe(`${missed}; more --steps or a higher --mask-lr come closer`);
  expect(words(0.501, SHAPE_TARGET_VLLM)).toBe(
    `${missed}; the masks learned 50.1%, and the rest is rounding to shapes: with --for free there are finer sizes`,
  );
  expect(words(0.501, SHAPE_TARGET_FREE)).toMatch(/the rest is rounding to whole parts: another target fits them better$/);
});
