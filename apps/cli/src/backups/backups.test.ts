// Tests backups of an event store and artifacts without a server. backups.long.test.ts of the orchestrator has a server that trains.
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArtifactStoreError, openArtifactStore, type ArtifactStore } from '#artifact-store';
import {
  connectEventStore,
  startEmbeddedEventStore,
  STORE_NAME_STREAM,
  type ConnectedEventStore,
  type EmbeddedEventStore,
} from '#event-store';
import { FLEET_FOLDER } from '#files';
import { artifactsOf, backupNames, readBackup, withPlace, type BackupPlace } from './backup-place.js';
import { makeBackup, requireApart, type BackupReport } from './make-backup.js';
import { checkBackup, restoreBackup } from './read-backup.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-backups-'));
const dataFolder = join(folder, 'data');
const signal = new AbortController().signal;
const place = <T>(name: string, work: (place: BackupPlace) => Promise<T>): Promise<T> =>
  withPlace({ given: join(folder, name), option: 'target', isNew: true }, work);
let server: EmbeddedEventStore;
let events: ConnectedEventStore;
let artifacts: ArtifactStore;

beforeAll(async () => {
  server = await startEmbeddedEventStore({ folder: join(dataFolder, 'event-store') });
  events = connectEventStore(server);
  artifacts = await openArtifactStore({ folder: join(dataFolder, 'artifacts') });
  const id = randomUUID();
  await events.append(STORE_NAME_STREAM, [{ id, type: 'EventStoreNamed', data: Buffer.from('{}') }], 'no_stream');
  await artifacts.owner.write(id, false);
  await artifacts.put(Buffer.from('a state'));
});
afterAll(async () => {
  await events.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** @param store the artifacts as the backup sees them */
const backUp = (to: string, store = artifacts): Promise<BackupReport> =>
  place(to, (target) =>
    withPlace({ given: join(dataFolder, 'artifacts'), option: '--artifacts' }, (own) =>
      makeBackup({ dataFolder, artifacts: { ...own, store } }, target, signal),
    ),
  );

it('each backup holds all, a later one copies what is new, and the newest is restored', async () => {
  const first = await backUp('one');
  await artifacts.put(Buffer.from('another state'));
  const second = await backUp('one');
  expect([first, second].map(({ artifacts: held, copied }) => [held.count, copied.count])).toEqual([
    [1, 1],
    [2, 1],
  ]);
  await place('one', async (target) => {
    expect(await backupNames(target)).toEqual([first.name, second.name]);
    const backup = await readBackup(target, undefined);
    expect(await checkBackup(target, backup, signal)).toMatchObject({ name: second.name, events: 1, problems: [] });
    await place('restored/artifacts', async (to) => {
      const report = await restoreBackup(target, backup, { dataFolder: join(folder, 'restored'), artifacts: to, overwrite: false }, signal);
      expect(report).toMatchObject({ events: 1, artifacts: { copied: 2 }, leavesJobs: false });
      expect(await to.store.owner.read()).toBe(backup.storeName);
      for (const { digest } of await artifactsOf(target, backup)) expect(await to.store.verify(digest)).toBe('ok');
    });
  });
});

it('a restore of a server that had a fleet says that its jobs may run on, unless the data folder is the same one', async () => {
  mkdirSync(join(dataFolder, FLEET_FOLDER));
  const { fleet } = await backUp('with-fleet');
  rmSync(join(dataFolder, FLEET_FOLDER), { recursive: true });
  expect(fleet).toBe(true);
  const leaves = (name: string): Promise<boolean> =>
    place('with-fleet', async (target) => {
      const backup = await readBackup(target, undefined);
      return place(`${name}/artifacts`, async (to) => {
        const into = { dataFolder: join(folder, name), artifacts: to, overwrite: false };
        return (await restoreBackup(target, backup, into, signal)).leavesJobs;
      });
    });
  mkdirSync(join(folder, 'same', FLEET_FOLDER), { recursive: true });
  expect([await leaves('another'), await leaves('same')]).toEqual([true, false]);
});

/** Artifacts of which the server removes one while the backup reads it, as often as `times` says. */
function losing(times: number): ArtifactStore {
  let left = times;
  const open: ArtifactStore['open'] = (digest) => {
    if (left-- > 0) throw new ArtifactStoreError('ARTIFACT_MISSING', 'it is gone', digest);
    return artifacts.open(digest);
  };
  return new Proxy(artifacts, { get: (store, name) => (name === 'open' ? open : (Reflect.get(store, name, store) as unknown)) });
}

it('events are copied once more where an artifact was removed after their copy, and what stays missing is told', async () => {
  expect(await backUp('two', losing(3))).toMatchObject({ removedMeanwhile: 0, artifacts: { count: 2 } });
  expect(await backUp('three', losing(1_000))).toMatchObject({ removedMeanwhile: 2, artifacts: { count: 0 } });
});

it('a backup whose note, list or events are not as they were is damaged', async () => {
  const { name, events: held, artifacts: listed } = await backUp('four');
  const fileOf = (digest: string): string => join(folder, 'four/objects', digest.slice(0, 2), digest);
  const problems = (): Promise<string[]> =>
    place('four', async (target) => (await checkBackup(target, await readBackup(target, name), signal)).problems);
  writeFileSync(fileOf(listed.list), 'nothing\n');
  expect(await problems()).toEqual([expect.stringMatching(/^ARTIFACT_CORRUPT: /)]);
  writeFileSync(fileOf(held.digest), 'SQLite format 3');
  expect(await problems()).toHaveLength(2);
  writeFileSync(join(folder, 'four/notes', `${name}.json`), '{');
  await expect(problems()).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
});

it('a place that is no place for backups is left as it is', async () => {
  writeFileSync(join(folder, 'mine.txt'), '');
  await expect(backUp('.')).rejects.toMatchObject({ code: 'BACKUP_FILE_FOREIGN' });
  await expect(withPlace({ given: join(folder, 'none'), option: 'target' }, async () => null)).rejects.toMatchObject({
    code: 'FILE_UNUSABLE',
  });
  expect(existsSync(join(folder, 'none'))).toBe(false);
  const at = (target: string) => () => requireApart(target, dataFolder, 's3://own/artifacts');
  for (const target of [dataFolder, join(dataFolder, 'backups'), 's3://own/artifacts'])
    expect(at(target)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
  expect(at(`${dataFolder}-backups`)).not.toThrow();
  expect(readdirSync(folder)).toContain('mine.txt');
});
