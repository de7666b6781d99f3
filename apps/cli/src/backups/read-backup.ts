// Checks a backup, and restores it: to the data folder of a server that is stopped, on this machine or another one.
import { createWriteStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { FLEET_FOLDER, inTemporaryFolder } from '#files';
import { toEspalierError } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import { artifactsOf, copyArtifact, damaged, type Backup, type BackupPlace } from './backup-place.js';

export interface CheckReport {
  name: string;
  events: number;
  artifacts: number;
  bytes: number;
  problems: string[];
}

/** Reads every byte of a backup. */
export async function checkBackup(place: BackupPlace, backup: Backup, signal: AbortSignal): Promise<CheckReport> {
  const problems: string[] = [];
  const { name, storeName } = backup;
  const noting = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = toEspalierError(error);
      problems.push(`${code}: ${message}`);
    }
  };
  await noting(() => withEvents(place, backup, async (file) => requireEvents(file, backup)));
  await noting(async () => {
    for (const { digest } of await artifactsOf(place, backup)) {
      signal.throwIfAborted();
      const condition = await place.store.verify(digest);
      if (condition !== 'ok') problems.push(`artifact ${digest} is ${condition}`);
    }
  });
  const owner = await place.store.owner.read();
  if (owner !== storeName) problems.push(`the place is of event store ${owner ?? 'none'}, and the backup of ${storeName}`);
  const { events, artifacts } = backup;
  return { name, events: events.count, artifacts: artifacts.count, bytes: events.bytes + artifacts.bytes, problems };
}

/** Fetches the events of a backup into a file, for as long as the work lasts. Their digest proves them. */
function withEvents<T>({ store }: BackupPlace, { events }: Backup, work: (file: string) => Promise<T>): Promise<T> {
  return inTemporaryFolder('events', async (folder) => {
    const file = join(folder, 'events.db');
    await pipeline(store.open(events.digest), createWriteStream(file, { mode: 0o600 }));
    return work(file);
  });
}

async function requireEvents(file: string, { name, events, storeName }: Backup): Promise<void> {
  const { checkEmbeddedBackup } = await import('#event-store'); // loaded only when needed
  const found = checkEmbeddedBackup(file);
  if (found.events !== events.count || found.endPosition !== events.endPosition || found.storeName !== storeName)
    throw damaged(`the events of backup ${name} are not those that its note tells of`);
}

export interface RestoreReport {
  name: string;
  at: string;
  events: number;
  artifacts: { count: number; copied: number; bytes: number };
  previousStoreFolder: string | undefined;
  /** Whether jobs of the former server's fleet may run on, which the restored server does not take for its own. */
  leavesJobs: boolean;
  seconds: number;
}

export interface RestoreTarget {
  dataFolder: string;
  artifacts: BackupPlace;
  /** Whether the event store that is there is replaced. It is kept beside the new one. */
  overwrite: boolean;
}

/**
 * Puts a backup into a data folder. Artifacts come first, so that no event names one that is not there. A restore that was cut short
 * goes on when it is called again.
 */
export async function restoreBackup(place: BackupPlace, backup: Backup, to: RestoreTarget, signal: AbortSignal): Promise<RestoreReport> {
  const began = performance.now();
  const { hasEmbeddedEventStore, restoreEmbeddedEventStore } = await import('#event-store'); // loaded only when needed
  const folder = join(to.dataFolder, 'event-store');
  const { store, words } = to.artifacts;
  if (!to.overwrite && hasEmbeddedEventStore(folder)) throw new CliError('STORE_EXISTS', `there is an event store in ${folder}`);
  const owner = await store.owner.read();
  if (owner !== null && owner !== backup.storeName)
    throw new CliError('ARTIFACTS_OF_ANOTHER_STORE', `${words} holds the artifacts of event store ${owner}`, {
      exitCode: ExitCode.notAllowed,
      hint: 'restore into a new data folder, or name another place for the artifacts with --artifacts',
    });
  return withEvents(place, backup, async (file) => {
    await requireEvents(file, backup);
    const there = new Set<string>();
    for await (const { digest } of store.list()) there.add(digest);
    const copied = { count: 0, bytes: 0 };
    for (const { digest, bytes } of await artifactsOf(place, backup)) {
      signal.throwIfAborted();
      if (there.has(digest)) continue;
      await copyArtifact(place.store, store, digest);
      copied.count += 1;
      copied.bytes += bytes;
    }
    await store.owner.write(backup.storeName, false);
    const { events, previousStoreFolder } = restoreEmbeddedEventStore({ folder, file, overwrite: to.overwrite });
    return {
      ...{ name: backup.name, at: backup.at, events, previousStoreFolder },
      // Where the fleet's folder is, it is the same data folder, and the jobs stay the fleet's own.
      leavesJobs: backup.fleet && !existsSync(join(to.dataFolder, FLEET_FOLDER)),
      artifacts: { count: backup.artifacts.count, copied: copied.count, bytes: copied.bytes },
      seconds: (performance.now() - began) / 1_000,
    };
  });
}
