import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { methodAt, v1 } from '#protocol';
import { pathsIn, requireAllowedPaths } from './allowed-paths.js';

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

test('a model folder with a link that leads out of the roots is refused, since the file behind it would be read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'roots-'));
  try {
    const [root, model] = [join(folder, 'root'), join(folder, 'root/model')];
    mkdirSync(model, { recursive: true });
    writeFileSync(join(folder, 'secret'), '{}');
    writeFileSync(join(root, 'blob'), '{}');
    symlinkSync('../blob', join(model, 'tokenizer.json'));
    const { input } = methodAt(v1.RunServiceService.planRun.path)!;
    const asked = (): Promise<void> => requireAllowedPaths(input, { modelPath: model }, [root]);
    await expect(asked()).resolves.toBeUndefined(); // as in the cache of the Hugging Face hub
    symlinkSync('../../secret', join(model, 'config.json'));
    await expect(asked()).rejects.toMatchObject({ code: 'PATH_NOT_ALLOWED' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
