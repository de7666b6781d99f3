import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StorageWatch } from './storage-watch.js';

let folder: string;
let watch: StorageWatch;
let told: boolean[];
beforeEach(async () => {
  folder = join(mkdtempSync(join(tmpdir(), 'storage-watch-')), 'data');
  mkdirSync(join(folder, 'event-store'), { recursive: true });
  for (const name of ['orchestrator.lock', 'event-store/events.db']) writeFileSync(join(folder, name), '');
  const live = { waits: () => undefined, goesOn: () => undefined };
  const log = { info: () => undefined, error: () => undefined };
  watch = new StorageWatch({ dataFolder: folder } as never, live as never, { renew: () => Promise.resolve() }, log as never);
  told = [];
  watch.onChange = (canRecord) => told.push(canRecord);
  watch.start();
  await watch.requireRoom();
});
afterEach(() => {
  watch.stop();
  rmSync(join(folder, '..'), { recursive: true, force: true });
});

const refusal = {
  code: 'STORAGE_UNUSABLE',
  message: expect.stringMatching(/was removed or replaced under the running server \(process \d+\)/) as string,
};

test.each([
  ['the folder is removed', () => rmSync(folder, { recursive: true })],
  [
    'the folder is removed, and another of its name is made',
    () => {
      renameSync(folder, `${folder}.old`);
      cpSync(`${folder}.old`, folder, { recursive: true });
    },
  ],
  ["the event store's file is removed", () => rmSync(join(folder, 'event-store/events.db'))],
  [
    'a file in it is replaced',
    () => {
      renameSync(join(folder, 'orchestrator.lock'), join(folder, 'old'));
      writeFileSync(join(folder, 'orchestrator.lock'), '');
    },
  ],
])('no change is accepted where %s under the server', async (_what, work) => {
  work();
  await expect(watch.requireRoom()).rejects.toMatchObject(refusal);
  expect(() => watch.requireFolder()).toThrow(expect.objectContaining({ code: 'STORAGE_UNUSABLE' }));
  await watch.check();
  expect(told).toEqual([false]);
});

test('changes are accepted again where what was moved away is put back', async () => {
  renameSync(folder, `${folder}.moved`);
  await watch.check();
  await expect(watch.requireRoom()).rejects.toMatchObject(refusal);
  renameSync(`${folder}.moved`, folder);
  await watch.requireRoom();
  expect(told).toEqual([false, true]);
});
