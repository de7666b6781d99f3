// Tests a restore that is cut short after any of its renames, as by a crash: the next start finishes it, and does not make an empty store.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newJsonEvent } from './event-log.js';
import { openForReading } from './database.js';
import { INCOMING_FILE, isRestoreUnfinished, noteRestore } from './restore-steps.js';
import { Store } from './store.js';

const ASIDE = /^before-restore-/;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'restore-steps-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function storeOf(place: string, stream: string): Promise<void> {
  const store = Store.open(place);
  await store.append(stream, [newJsonEvent('Happened', '{}')], 'any');
  await store.close();
}

/** Makes the folder as a restore leaves it after it has written its note. */
async function noted(): Promise<void> {
  const backup = join(folder, 'backup');
  await storeOf(backup, 'restored');
  await storeOf(folder, 'former');
  writeFileSync(join(folder, 'events.db-wal'), 'the former log'); // a killed server leaves this file
  renameSync(join(backup, 'events.db'), join(folder, INCOMING_FILE));
  noteRestore(folder);
}

function asideMadeByHand(): string {
  const aside = join(folder, (JSON.parse(noteText()) as { aside: string }).aside);
  mkdirSync(aside);
  return aside;
}
const noteText = (): string => readFileOf('restore.json');
const readFileOf = (name: string): string => readFileSync(join(folder, name), 'utf8');

const cuts: [string, () => void][] = [
  ['before the first rename', () => undefined],
  ['once the folder for the former store is there', () => void asideMadeByHand()],
  ['once the former database is aside', () => renameSync(join(folder, 'events.db'), join(asideMadeByHand(), 'events.db'))],
  [
    'once the former log is aside too',
    () => {
      const aside = asideMadeByHand();
      for (const name of ['events.db', 'events.db-wal']) renameSync(join(folder, name), join(aside, name));
    },
  ],
  [
    'before the note is removed',
    () => {
      const aside = asideMadeByHand();
      for (const name of ['events.db', 'events.db-wal']) renameSync(join(folder, name), join(aside, name));
      renameSync(join(folder, INCOMING_FILE), join(folder, 'events.db'));
    },
  ],
];

test.each(cuts)('cut short %s', async (_when, cut) => {
  await noted();
  cut();
  expect(() => openForReading(folder)).toThrow(expect.objectContaining({ code: 'STORE_RESTORE_UNFINISHED' }) as Error);
  const store = Store.open(folder);
  expect(store.log.heads.find('restored')?.lastRevision).toBe(0);
  expect(store.log.heads.find('former')).toBeUndefined();
  await store.close();
  expect(isRestoreUnfinished(folder)).toBe(false);
  const aside = join(
    folder,
    readdirSync(folder).find((name) => ASIDE.test(name))!,
  );
  expect(readFileSync(join(aside, 'events.db-wal'), 'utf8')).toBe('the former log');
  rmSync(join(aside, 'events.db-wal'));
  const former = Store.open(aside);
  expect(former.log.heads.find('former')?.lastRevision).toBe(0);
  await former.close();
  expect(existsSync(join(folder, INCOMING_FILE))).toBe(false);
});
