// Tests backups of a server that trains: made while it goes on, checked, damaged, and restored to another path or from a bucket. There
// the run goes on to the same bits. apps/cli/src/backups/backups.test.ts has what needs no server.
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programFile } from '#files';
import type { v1 } from '#protocol';
import { S3_CREDENTIALS, startS3Server, type S3TestServer } from '../../../libs/artifact-store/src/testing/s3-server.js';
import { bucketEnvironment, describeBucket } from './harness/bucket.js';
import { CLOSELY_MS, collect, TestServer } from './harness/server.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-backups-'));
const target = join(folder, 'backups');
const server = TestServer.inNewFolder();
let undisturbed: v1.Run;

interface Answer {
  exitCode: number;
  told: Record<string, unknown>;
}

/** Runs a command. It tells its result, or else its error. */
const espalier = (args: string[], env: Record<string, string> = {}): Promise<Answer> =>
  new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args, '--json'], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      resolve({
        exitCode: error === null ? 0 : (error.code as number),
        told: (error !== null && stdout === ''
          ? (JSON.parse(stderr) as { error: Record<string, unknown> }).error
          : JSON.parse(stdout)) as Record<string, unknown>,
      }),
    );
  });
/** Starts a server on a restored folder, and returns the run at its end, with what a check of all records finds. */
async function restored(dataFolder: string, runId: string, env = {}): Promise<{ run: v1.Run; problems: string[] }> {
  const other = new TestServer(dataFolder, env);
  await other.start();
  const run = await other.completed(runId);
  const { problems } = (await collect(other.history.verifyAll({}))).at(-1)!.summary!;
  await other.dispose();
  return { run, problems };
}

const backUp = (to = target, env = {}): Promise<Answer> => espalier(['--data-folder', server.dataFolder, 'backup', to], env);
const filesBelow = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
  );

beforeAll(async () => {
  await server.start();
  undisturbed = await server.completed((await server.launch({})).runId);
});
afterAll(async () => {
  await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it('a backup of a server that trains is whole, and goes on elsewhere to the same bits', async () => {
  const { runId } = await server.launch({});
  await server.until(runId, ({ step }) => step >= 20n, CLOSELY_MS);
  const first = await backUp();
  expect(first).toMatchObject({ exitCode: 0, told: { removed_meanwhile: 0 } });
  await server.completed(runId);
  const second = await backUp();
  const { artifacts, copied } = second.told as { artifacts: { count: number }; copied: { count: number } };
  expect(copied.count).toBeLessThan(artifacts.count); // the first one has brought the others
  for (const file of filesBelow(target)) expect([file, statSync(file).mode & 0o777]).toEqual([file, 0o600]);

  const listed = await espalier(['backups', target]);
  const names = (listed.told['backups'] as { name: string }[]).map(({ name }) => name);
  expect(names).toEqual([first.told['name'], second.told['name']]);
  for (const name of names)
    expect(await espalier(['backups', target, '--check', name])).toMatchObject({ exitCode: 0, told: { problems: [] } });

  const elsewhere = join(folder, 'elsewhere');
  const into = ['--data-folder', elsewhere, 'restore', target, '--backup', names[0]!];
  expect(await espalier(into)).toMatchObject({ exitCode: 0, told: { name: names[0] } });
  expect(await espalier(into)).toMatchObject({ exitCode: 5, told: { code: 'STORE_EXISTS' } });
  const { run, problems } = await restored(elsewhere, runId);
  expect([run.stateDigest, problems]).toEqual([undisturbed.stateDigest, []]);
});

it('a backup that was damaged is found out, and not restored', async () => {
  const at = join(folder, 'damaged');
  const { told } = await backUp(at);
  const { list } = told['artifacts'] as { list: string };
  const listFile = join(at, 'objects', list.slice(0, 2), list);
  const [digest] = readFileSync(listFile, 'utf8').split(' ');
  const file = join(at, 'objects', digest!.slice(0, 2), digest!);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(file, bytes);
  const check = await espalier(['backups', at, '--check']);
  expect(check).toMatchObject({ exitCode: 1, told: { problems: [`artifact ${digest} is corrupt`] } });
  const restore = ['--data-folder', join(folder, 'never'), 'restore', at];
  expect(await espalier(restore)).toMatchObject({ exitCode: 1, told: { code: 'ARTIFACT_CORRUPT' } });
  rmSync(file);
  expect((await espalier(['backups', at, '--check'])).told['problems']).toEqual([`artifact ${digest} is missing`]);
  // The next backup brings it again, and a restore that was cut short goes on.
  expect((await backUp(at)).exitCode).toBe(0);
  expect((await espalier(restore)).exitCode).toBe(0);
});

it('places that are not for backups are refused', async () => {
  writeFileSync(join(folder, 'note.txt'), 'mine');
  expect(await backUp(folder)).toMatchObject({ exitCode: 5, told: { code: 'BACKUP_FILE_FOREIGN' } });
  expect(await backUp(join(server.dataFolder, 'backups'))).toMatchObject({ exitCode: 2, told: { code: 'OPTION_INVALID' } });
  expect(await backUp('s3://b')).toMatchObject({ exitCode: 2, told: { code: 'OPTION_INVALID' } });
  expect(await espalier(['backups', join(folder, 'none')])).toMatchObject({ exitCode: 3, told: { code: 'FILE_UNUSABLE' } });
  expect(await espalier(['backups', target, '--check', 'none'])).toMatchObject({ exitCode: 3, told: { code: 'BACKUP_NOT_FOUND' } });
  expect(await espalier(['--data-folder', server.dataFolder, 'restore', target])).toMatchObject({
    exitCode: 5,
    told: { code: 'STORE_LOCKED' },
  });
  const stranger = TestServer.inNewFolder();
  await stranger.start();
  const ofStranger = await espalier(['--data-folder', stranger.dataFolder, 'backup', target]);
  expect(ofStranger).toMatchObject({ exitCode: 5, told: { code: 'ARTIFACTS_OF_ANOTHER_STORE' } });
  await stranger.dispose();
});

describeBucket(() => {
  let bucket: S3TestServer;
  let env: Record<string, string>;
  beforeAll(async () => {
    bucket = await startS3Server();
    env = { ...S3_CREDENTIALS, ESPALIER_S3_ENDPOINT: bucket.endpoint };
  });
  afterAll(() => bucket.stop());

  it('take backups, which are checked and restored from there', async () => {
    const address = `s3://${bucket.bucket}/backups`;
    const made = await backUp(address, env);
    expect(made).toMatchObject({ exitCode: 0, told: { removed_meanwhile: 0 } });
    expect(await espalier(['backups', address, '--check'], env)).toMatchObject({ exitCode: 0, told: { problems: [] } });
    const elsewhere = join(folder, 'from-bucket');
    expect((await espalier(['--data-folder', elsewhere, 'restore', address], env)).exitCode).toBe(0);
    const { run, problems } = await restored(elsewhere, undisturbed.runId);
    expect([run.stateDigest, problems]).toEqual([undisturbed.stateDigest, []]);
    expect(await backUp('s3://nowhere/backups', env)).toMatchObject({ exitCode: 5, told: { code: 'ARTIFACT_STORE_NOT_FOUND' } });
  });

  it('are backed up to a folder, and restored from there into another bucket', async () => {
    const own = bucketEnvironment(bucket, 'own');
    const source = TestServer.inNewFolder(own);
    await source.start();
    const { runId, stateDigest } = await source.completed((await source.launch({})).runId);
    const to = join(folder, 'of-bucket');
    const backup = ['--data-folder', source.dataFolder, 'backup', to];
    expect(await espalier(backup)).toMatchObject({ exitCode: 3, told: { code: 'FILE_UNUSABLE' } }); // they lie elsewhere
    expect(await espalier(backup, own)).toMatchObject({ exitCode: 0 });
    await source.dispose();
    const elsewhere = bucketEnvironment(bucket, 'elsewhere');
    const dataFolder = join(folder, 'into-bucket');
    expect((await espalier(['--data-folder', dataFolder, 'restore', to], elsewhere)).exitCode).toBe(0);
    const { run, problems } = await restored(dataFolder, runId, elsewhere);
    expect([run.stateDigest, problems]).toEqual([stateDigest, []]);
  });
});
