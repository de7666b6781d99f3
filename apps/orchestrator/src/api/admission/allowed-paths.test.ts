import { methodAt, v1 } from '#protocol';
import { pathsIn } from './allowed-paths.js';

test('the paths of a request are found inside a choice too, by their fields', () => {
  const { path } = v1.RunServiceService.startJob;
  const found = (work: v1.StartJobRequest['work']): string[] =>
    [...pathsIn(methodAt(path)!.input, { work }, '')].map(({ field, path: named }) => `${field} ${named}`);
  expect(found({ $case: 'evaluate', value: v1.EvaluateRunRequest.fromPartial({ runId: 'run', dataPath: '/a.txt' }) })).toEqual([
    'evaluate.data_path /a.txt',
  ]);
  const tasks = v1.EvaluateTasksRequest.fromPartial({ tasks: ['boolq', '/own.yaml'], taskDataPath: '/data' });
  expect(found({ $case: 'evaluateTasks', value: tasks })).toEqual([
    'evaluate_tasks.tasks[1] /own.yaml',
    'evaluate_tasks.task_data_path /data',
  ]);
  expect(found(undefined)).toEqual([]);
});

test('a speed table is a path, unless the text is none or the digest of a kept table', () => {
  const { path } = v1.RunServiceService.planRun;
  const found = (speedTable: string): string[] =>
    [...pathsIn(methodAt(path)!.input, { settings: { speedTable } }, '')].map((one) => one.path);
  for (const named of ['/tables/cpu.json', 'table', 'abc', 'ab'.repeat(33)]) expect(found(named)).toEqual([named]);
  for (const other of ['none', 'abcd', 'ab'.repeat(32)]) expect(found(other)).toEqual([]);
});
