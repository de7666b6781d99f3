// An artifact folder of several orchestrators serves one event store: whoever drives throws away what no run of that store
// needs, which another store's runs might. The folder therefore holds the name of its store, and refuses others.
import { randomUUID } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WrongExpectedRevisionError, type EventStore } from '#event-store';
import { EspalierError } from '#protocol';

const NAME_STREAM = 'espalierEventStore';
const NAME_FILE = 'event-store.id';

/** @throws EspalierError ARTIFACTS_OF_ANOTHER_STORE */
export async function claimArtifacts(folder: string, store: EventStore): Promise<void> {
  const name = await nameOf(store);
  const file = join(folder, NAME_FILE);
  const draft = `${file}.${randomUUID()}`;
  try {
    await writeFile(draft, `${name}\n`);
    await link(draft, file); // whole or not at all, and only the first
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
  if ((await readFile(file, 'utf8')).trim() === name) return;
  throw new EspalierError(
    'ARTIFACTS_OF_ANOTHER_STORE',
    `the artifact folder ${folder} serves another event store, whose artifacts would be thrown away: use a folder for each event store`,
  );
}

/** The id of its only event; a backup that is restored keeps it. */
async function nameOf(store: EventStore): Promise<string> {
  for await (const { id } of store.read(NAME_STREAM, { maxCount: 1 })) return id;
  try {
    await store.append(NAME_STREAM, [{ id: randomUUID(), type: 'EventStoreNamed', data: Buffer.from('{}') }], 'no_stream');
  } catch (error) {
    if (!(error instanceof WrongExpectedRevisionError)) throw error; // another was quicker
  }
  return nameOf(store);
}
