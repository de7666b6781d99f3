// Tests of unfinished files: a process removes the files of another process only if that process is surely dead.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isSurelyDead, ownerName } from './process-owner.js';
import { clearUnfinishedFiles, unfinishedName } from './unfinished-files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'unfinished-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const kind = { before: /\..+\./, after: '.incoming' };

/** The owner name of a process that has run and ended. */
async function deadOwner(): Promise<string> {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const owner = ownerName(child.pid)!;
  expect(isSurelyDead(owner)).toBe(false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return owner;
}

test('what a killed process left is removed, files and folders; all else stays', async () => {
  const dead = await deadOwner();
  mkdirSync(join(folder, `.model.${dead}.0a1b2c3d.incoming`));
  writeFileSync(join(folder, `.model.${dead}.0a1b2c3d.incoming`, 'weights'), 'half');
  writeFileSync(join(folder, `.m.gguf.${dead}.0a1b2c3d.incoming`), 'half');
  const stays = [
    unfinishedName('.model.', '.incoming'), // this process made it, and lives
    `.model.${dead}.0a1b2c3d.incoming.replaced`,
    `model.${dead}.0a1b2c3d.incoming`,
    '.model.0a1b2c3d.incoming', // names no owner
    '.thesis.incoming',
  ];
  for (const name of stays) writeFileSync(join(folder, name), 'precious');
  expect(clearUnfinishedFiles(folder, kind).sort()).toEqual([
    join(folder, `.m.gguf.${dead}.0a1b2c3d.incoming`),
    join(folder, `.model.${dead}.0a1b2c3d.incoming`),
  ]);
  expect(readdirSync(folder).sort()).toEqual([...stays].sort());
  expect(clearUnfinishedFiles(join(folder, 'nowhere'), kind)).toEqual([]);
});

test('what is spared stays', async () => {
  const name = `.model.${await deadOwner()}.0a1b2c3d.incoming`;
  writeFileSync(join(folder, name), 'half');
  expect(clearUnfinishedFiles(folder, kind, (path) => path.endsWith(name))).toEqual([]);
  expect(readdirSync(folder)).toEqual([name]);
});

test('what another user left stays', async () => {
  const name = `.model.${await deadOwner()}.0a1b2c3d.incoming`;
  writeFileSync(join(folder, name), 'half');
  const user = jest.spyOn(process, 'geteuid').mockReturnValue(process.geteuid!() + 1);
  expect(clearUnfinishedFiles(folder, kind)).toEqual([]);
  user.mockRestore();
  expect(clearUnfinishedFiles(folder, kind)).toEqual([join(folder, name)]);
});

test('dead is who has ended, or was of an earlier boot; not who may live elsewhere', async () => {
  const [machine, boot, namespace, pid, start] = ownerName()!.split('-');
  const owner = (parts: object): string => Object.values({ machine, boot, namespace, pid, start, ...parts }).join('-');
  expect(isSurelyDead(owner({}))).toBe(false);
  expect(isSurelyDead(owner({ start: '1' }))).toBe(true); // the system gave the process number to another process
  expect(isSurelyDead(owner({ boot: '00000000' }))).toBe(true);
  expect(isSurelyDead(owner({ boot: '00000000', machine: '00000000' }))).toBe(false);
  expect(isSurelyDead(owner({ namespace: '1', start: '1' }))).toBe(false);
  expect(isSurelyDead(await deadOwner())).toBe(true);
});
