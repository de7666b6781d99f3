// npm run record-folder
//
// Keeps a data folder of this release for released-folders.long.test.ts, made by the real processes. It is for the day of a release: a
// folder that was kept is never changed.
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { v1 } from '#protocol';
import { CLOSELY_MS, collect, TestServer } from '../harness/server.js';
import { archiveOf, inputs, outcomeOf, PORTABLE, SETTINGS, tar, type Released } from './released-folder.js';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const archive = archiveOf(version);
if (existsSync(archive)) throw new Error(`${archive} is there already, and what was kept stays`);
mkdirSync(dirname(archive), { recursive: true });
/** Views are made again; secrets, addresses and logs belong to one machine. */
const LEFT_OUT = [
  'views.sqlite*',
  'server.log',
  'reserve',
  'token',
  'espalier.json',
  'event-store.url',
  'event-store/secrets',
  'artifacts/incoming/*',
  '*.lock*',
  'event-store/lock.db*',
  'engine*',
  '*.log',
];

const server = TestServer.inNewFolder(PORTABLE);
try {
  await server.start();
  const made = inputs();
  const ended = await server.completed((await server.launch(SETTINGS, { name: 'ended', ...made })).runId);
  const events = await server.events(ended.runId);

  const { runId } = await server.launch({ ...SETTINGS, seed: 7n, totalSteps: 1_000 }, { name: 'under way', ...made });
  await server.until(runId, ({ step }) => step >= 60n, CLOSELY_MS);
  const seen = await server.events(runId);
  await server.kill('engine', 'store');
  await server.orphansGone();
  tar('-C', server.dataFolder, ...LEFT_OUT.map((name) => `--exclude=./${name}`), '--sort=name', '-czf', archive, '.');

  await server.start();
  const end = await server.completed(runId);
  // Not in the folder, for its size.
  const request = v1.ExportRunRequest.fromPartial({ runId: ended.runId, form: 'compacted', dtype: 'f32' });
  const exported = (await collect(server.runs.exportRun(request))).at(-1)!.export!;
  if (end.attempt < 2) throw new Error('the run was over before it was killed: try again');
  const released: Released = {
    version,
    ended: {
      runId: ended.runId,
      events: events.length,
      stateDigest: ended.stateDigest,
      hardSparsity: ended.hardSparsity,
      teachers: ended.teacherCount,
      exportDigest: exported.digest,
    },
    underWay: {
      runId,
      events: seen.map(({ eventId, type, dataJson }) => ({ eventId, type, dataJson })),
      stateDigest: end.stateDigest,
      fingerprint: end.numericsFingerprint,
    },
  };
  writeFileSync(outcomeOf(version), `${JSON.stringify(released, null, 2)}\n`);
  console.log(`${archive}: ${(statSync(archive).size / 1_000).toFixed(0)} kB`);
} finally {
  await server.dispose();
}
