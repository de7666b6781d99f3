// Tests forks from a state whose file is damaged or missing: the error names a state from which a run can start.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
let parent: v1.Run;
let teachers: v1.Teacher[];
beforeAll(async () => {
  await server.start();
  parent = await server.completed((await server.launch({}, { name: 'parent' })).runId);
  const request = v1.ListTeachersRequest.fromPartial({ runId: parent.runId });
  teachers = (await unary<v1.ListTeachersResponse>((done) => server.artifacts.listTeachers(request, done))).teachers;
});
afterAll(() => server.dispose());

const pathOf = (digest: string): string => join(server.dataFolder, 'artifacts/objects', digest.slice(0, 2), digest);
const fork = (from: v1.ForkRunRequest['from'], seed: bigint): Promise<v1.ForkRunResponse> =>
  unary((done) =>
    server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId: parent.runId, from, settings: { seed, totalSteps: 160 } }), done),
  );

test('a fork from a state that is missing is refused, and names the last whole teacher', async () => {
  const away = join(server.dataFolder, 'away');
  const { mark } = teachers.findLast(({ stateDigest }) => stateDigest !== parent.stateDigest)!;
  await rename(pathOf(parent.stateDigest), away);
  const error = await fork({ $case: 'lastState', value: true }, 11n).then(
    () => '',
    (refused: unknown) => (refused as Error).message,
  );
  expect(error).toMatch(new RegExp(`is missing in the artifact store; .*: espalier fork ${parent.runId} --from-teacher ${mark}$`));
  await rename(away, pathOf(parent.stateDigest));
  const { run } = await fork({ $case: 'teacherMark', value: mark }, 11n);
  await server.completed(run!.runId);
});

test('a fork whose first state is damaged waits, and goes on by the command that it names', async () => {
  const damaged = teachers.at(-1)!;
  const { mark } = teachers.findLast(({ stateDigest }) => stateDigest !== damaged.stateDigest)!;
  await server.stop(); // its engine could still hold the state
  await writeFile(pathOf(damaged.stateDigest), (await readFile(pathOf(damaged.stateDigest))).subarray(0, 1000));
  await server.start();
  const { runId } = (await fork({ $case: 'teacherMark', value: damaged.mark }, 12n)).run!;
  const { waitingFor } = await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_PAUSED);
  expect(waitingFor).toMatchObject({ code: 'ARTIFACT_CORRUPT', command: `espalier resume ${runId} --from-teacher ${mark}` });
  await server.resume(runId, { from: { $case: 'teacherMark', value: mark } });
  await server.completed(runId);
});
