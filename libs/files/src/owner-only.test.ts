import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asOwnerOnly, restrictToOwner } from '#files';

const folder = mkdtempSync(join(tmpdir(), 'owner-only-'));
afterAll(() => rmSync(folder, { recursive: true }));
const modeOf = (name: string): string => (statSync(join(folder, name)).mode & 0o777).toString(8);

test("what is made by the work is the owner's, what comes after follows the umask again", () => {
  const usual = process.umask(0);
  try {
    asOwnerOnly(() => {
      mkdirSync(join(folder, 'kept'));
      writeFileSync(join(folder, 'kept/file'), '');
    });
    writeFileSync(join(folder, 'open'), '');
  } finally {
    process.umask(usual);
  }
  expect([modeOf('kept'), modeOf('kept/file'), modeOf('open')]).toEqual(['700', '600', '666']);
});

test("what others could read is the owner's again, but for what links lead to", () => {
  for (const name of ['loose', 'loose/below', 'elsewhere']) mkdirSync(join(folder, name));
  for (const name of ['loose/file', 'loose/below/file', 'elsewhere/file']) {
    writeFileSync(join(folder, name), '');
    chmodSync(join(folder, name), 0o666);
  }
  chmodSync(join(folder, 'loose'), 0o777);
  chmodSync(join(folder, 'loose/below'), 0o755);
  symlinkSync('../elsewhere/file', join(folder, 'loose/link'));
  restrictToOwner(join(folder, 'loose'));
  expect(['loose', 'loose/below', 'loose/file', 'loose/below/file'].map(modeOf)).toEqual(['700', '700', '600', '600']);
  expect(modeOf('elsewhere/file')).toBe('666');
});
