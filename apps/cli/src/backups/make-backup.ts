// Makes a backup of events and artifacts while the server goes on. The events are copied as they are at one moment. The artifacts that were
// there before and after that moment hold all that the events need.
import { createReadStream, existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ArtifactStore, ArtifactStoreError } from '#artifact-store';
import { FLEET_FOLDER, inTemporaryFolder, ownVersion } from '#files';
import { CliError, ExitCode, invalidOption } from '../cli-error.js';
import { copyArtifact, listText, newName, writeBackup, type Backup, type BackupPlace } from './backup-place.js';

/** The server may remove an artifact after the copy of the events. Then the events are copied once more, this often at most. */
const ATTEMPTS = 5;
const LEFT_AFTER_MS = 86_400_000;

export interface BackupReport extends Omit<Backup, 'format'> {
  place: string;
  /** The artifacts that this backup has added to the place. */
  copied: { count: number; bytes: number };
  /** The artifacts that the server removed while the backup was made. */
  removedMeanwhile: number;
  seconds: number;
}

export interface Source {
  dataFolder: string;
  artifacts: BackupPlace;
}

/** @throws CliError STORE_NOT_FOUND, ARTIFACTS_OF_ANOTHER_STORE */
export async function makeBackup(source: Source, place: BackupPlace, signal: AbortSignal): Promise<BackupReport> {
  const began = performance.now();
  const copied = { count: 0, bytes: 0 };
  const from = source.artifacts.store;
  const storeName = await ownerOf(source.artifacts);
  await bind(place, storeName);
  const there = new Set<string>();
  for await (const { digest } of place.store.list()) there.add(digest);
  /** Copies an artifact unless the place has it. Resolves to false where it was removed meanwhile. */
  const copy = async (digest: string, bytes: number): Promise<boolean> => {
    signal.throwIfAborted();
    if (there.has(digest)) return true;
    try {
      await copyArtifact(from, place.store, digest);
    } catch (error) {
      if ((error as ArtifactStoreError).code === 'ARTIFACT_MISSING') return false;
      throw error;
    }
    there.add(digest);
    copied.count += 1;
    copied.bytes += bytes;
    return true;
  };
  /** Copies artifacts, and forgets those that were removed meanwhile. Returns how many these were. */
  const copyAll = async (artifacts: Map<string, number>): Promise<number> => {
    const count = artifacts.size;
    for (const [digest, bytes] of artifacts) if (!(await copy(digest, bytes))) artifacts.delete(digest);
    return count - artifacts.size;
  };
  // The bulk is copied before the events, so that little is left for the time after them.
  let before = await listed(from);
  await copyAll(before);
  for (let attempt = 1; ; attempt += 1) {
    const events = await copyEvents(source.dataFolder, storeName, place);
    const after = await listed(from);
    const all = new Map([...before, ...after]);
    const gone = await copyAll(all);
    before = after;
    if (gone > 0 && attempt < ATTEMPTS) continue;
    const list = listText([...all].map(([digest, bytes]) => ({ digest, bytes })));
    const backup = {
      name: await newName(place, events.at),
      at: events.at.toISOString(),
      release: ownVersion(),
      storeName,
      fleet: existsSync(join(source.dataFolder, FLEET_FOLDER)),
      events: events.copy,
      artifacts: {
        list: (await place.store.put(Buffer.from(list))).digest,
        count: all.size,
        bytes: [...all.values()].reduce((sum, bytes) => sum + bytes, 0),
      },
    };
    await writeBackup(place, backup);
    await removeLeftovers(place);
    return { ...backup, place: place.words, copied, removedMeanwhile: gone, seconds: (performance.now() - began) / 1_000 };
  }
}

/** Removes what backups that were killed have left half written. One that goes on has newer files. */
async function removeLeftovers({ store }: BackupPlace): Promise<void> {
  for await (const { name, changedAt, isInUse } of store.incoming.list())
    if (!isInUse && Date.now() - changedAt.getTime() > LEFT_AFTER_MS) await store.incoming.remove(name);
}

async function listed(store: ArtifactStore): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { digest, bytes } of store.list()) found.set(digest, bytes);
  return found;
}

async function copyEvents(dataFolder: string, storeName: string, { store }: BackupPlace): Promise<{ at: Date; copy: Backup['events'] }> {
  const { backupEmbeddedEventStore, checkEmbeddedBackup } = await import('#event-store'); // loaded only when needed
  return inTemporaryFolder('events', async (folder) => {
    const file = join(folder, 'events.db');
    const at = new Date();
    const { bytes, events, streams, endPosition } = await backupEmbeddedEventStore({ folder: join(dataFolder, 'event-store'), file });
    const found = checkEmbeddedBackup(file).storeName;
    if (found !== storeName)
      throw new CliError('ARTIFACTS_OF_ANOTHER_STORE', `the artifacts are of event store ${storeName}, and ${dataFolder} has ${found}`, {
        field: '--artifacts',
        exitCode: ExitCode.notAllowed,
      });
    const { digest } = await store.put(createReadStream(file));
    return { at, copy: { digest, bytes, count: events, streams, endPosition } };
  });
}

/** A target among the server's own files would be backed up with them, and would be lost with them. */
export function requireApart(target: string, dataFolder: string, artifacts: string): void {
  const place = resolve(target);
  const isOwn = target === artifacts || [dataFolder, resolve(artifacts)].some((own) => `${place}/`.startsWith(`${own}/`));
  if (isOwn) throw invalidOption('target', target, 'a folder or a bucket beside those of the server is allowed');
}

/** Returns the name of the event store whose events name these artifacts. */
async function ownerOf({ store, words }: BackupPlace): Promise<string> {
  const owner = await store.owner.read();
  if (owner !== null) return owner;
  throw new CliError('ARTIFACTS_OF_ANOTHER_STORE', `no server has worked with the artifacts in ${words}`, {
    field: '--artifacts',
    exitCode: ExitCode.notAllowed,
    hint: 'name the folder or the bucket that the server was started with: --artifacts',
  });
}

/** The first backup binds the place to its event store. */
async function bind({ store, words }: BackupPlace, storeName: string): Promise<void> {
  await store.owner.write(storeName, false);
  const owner = await store.owner.read();
  if (owner === storeName) return;
  throw new CliError('ARTIFACTS_OF_ANOTHER_STORE', `${words} holds backups of event store ${owner}, and this is ${storeName}`, {
    exitCode: ExitCode.notAllowed,
    hint: 'give each server a folder or a prefix of its own',
  });
}
