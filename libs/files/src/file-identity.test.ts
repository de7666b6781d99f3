import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileDigests } from '#files';

const folder = mkdtempSync(join(tmpdir(), 'espalier-digests-'));
afterAll(() => rmSync(folder, { recursive: true }));

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const file = join(folder, 'weights');
/** Writes the text, as if at the given second. */
function write(text: string, second: number): void {
  writeFileSync(file, text);
  utimesSync(file, second, second);
}

test('a file is read again when its mark has changed, and not before', async () => {
  const digests = new FileDigests();
  write('one', 1);
  expect(await digests.of(file)).toBe(sha256('one'));
  write('two', 1);
  expect(await digests.of(file)).toBe(sha256('one')); // of the same size, at the same time
  write('two', 2);
  expect(await digests.of(file)).toBe(sha256('two'));
});

test('a digest that was noted is taken as long as the file stays as it was', async () => {
  const digests = new FileDigests();
  write('bytes', 1);
  await digests.note(file, 'made while it came');
  await digests.note(join(folder, 'nowhere'), 'x');
  expect(await digests.of(file)).toBe('made while it came');
  write('others', 2);
  expect(await digests.of(file)).toBe(sha256('others'));
});

test('a file that is missing is not a file with an unknown digest, and is found when it is there', async () => {
  const digests = new FileDigests();
  rmSync(file, { force: true });
  await expect(digests.of(file)).rejects.toMatchObject({ code: 'ENOENT' });
  write('back', 1);
  expect(await digests.of(file)).toBe(sha256('back'));
});

test('a caller who no longer waits ends nothing for another one', async () => {
  const digests = new FileDigests();
  write('long', 1);
  const gone = new AbortController();
  const both = Promise.allSettled([digests.of(file, gone.signal), digests.of(file)]);
  gone.abort(new Error('the caller has gone'));
  expect(await both).toMatchObject([{ status: 'rejected' }, { status: 'fulfilled', value: sha256('long') }]);
});
