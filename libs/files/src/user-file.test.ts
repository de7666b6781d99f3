import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readUserFile, readUserFileSync, requireUserFile, userFileChunks, type UserFileError } from '#files';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'user-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const failure = async (path: string, limitBytes = 1000): Promise<UserFileError> => {
  const error = await readUserFile(path, limitBytes).then(
    () => null,
    (reason: unknown) => reason as UserFileError,
  );
  expect(error).not.toBeNull();
  expect(error!.message).toContain(path);
  return error!;
};

test('a file, and a link to one, are read', async () => {
  const path = join(folder, 'a');
  await writeFile(path, 'words');
  await symlink(path, join(folder, 'link'));
  expect((await readUserFile(path, 5)).toString()).toBe('words');
  expect((await readUserFile(join(folder, 'link'), 5)).toString()).toBe('words');
});

test('what is not a regular file is refused by its kind, at once', async () => {
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  await symlink('/dev/zero', join(folder, 'zero'));
  const server = createServer().listen(join(folder, 'socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    expect(await failure(join(folder, 'fifo'))).toMatchObject({ code: 'FILE_NOT_REGULAR', message: expect.stringContaining('a FIFO') });
    expect(await failure(join(folder, 'zero'))).toMatchObject({ code: 'FILE_NOT_REGULAR', message: expect.stringContaining('a device') });
    expect(await failure(join(folder, 'socket'))).toMatchObject({ code: 'FILE_NOT_REGULAR' });
    expect(await failure(folder)).toMatchObject({ code: 'FILE_NOT_REGULAR', message: expect.stringContaining('a folder') });
  } finally {
    server.close();
  }
});

test('so it is where it is only looked at, and where it is read at once', async () => {
  const path = join(folder, 'a');
  await writeFile(path, 'words');
  await requireUserFile(path, 5);
  expect(readUserFileSync(path, 5).toString()).toBe('words');
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  for (const [wrong, code] of [
    [join(folder, 'fifo'), 'FILE_NOT_REGULAR'],
    ['/dev/zero', 'FILE_NOT_REGULAR'],
    [folder, 'FILE_NOT_REGULAR'],
    [path, 'FILE_TOO_LARGE'],
    [join(folder, 'nothing'), 'FILE_NOT_FOUND'],
    [join(path, 'below'), 'FILE_NOT_FOUND'],
  ] as const) {
    await expect(requireUserFile(wrong, 4)).rejects.toMatchObject({ code });
    expect(() => readUserFileSync(wrong, 4)).toThrow(expect.objectContaining({ code }) as Error);
  }
});

test('nothing, a link to nothing and a file without permission', async () => {
  await symlink(join(folder, 'nothing'), join(folder, 'link'));
  expect(await failure(join(folder, 'nothing'))).toMatchObject({ code: 'FILE_NOT_FOUND' });
  expect(await failure(join(folder, 'link'))).toMatchObject({ code: 'FILE_NOT_FOUND', message: expect.stringContaining('a link to') });
  const locked = join(folder, 'locked');
  await writeFile(locked, 'x');
  await chmod(locked, 0);
  if (process.getuid?.() !== 0) expect((await failure(locked)).code).toBe('FILE_UNUSABLE'); // root may read every file
});

test('a file beyond the limit is refused before it is read', async () => {
  const path = join(folder, 'sparse');
  await writeFile(path, '');
  await truncate(path, 2 ** 40);
  expect(await failure(path)).toMatchObject({ code: 'FILE_TOO_LARGE', message: expect.stringContaining('at most 1000 bytes') });
});

test('a file that has more than it says meets the limit while it is read', async () => {
  expect(await failure('/proc/self/status', 10)).toMatchObject({ code: 'FILE_TOO_LARGE' }); // the file system gives its size as 0 bytes
});

test('reading stops with its signal', async () => {
  const path = join(folder, 'large');
  await writeFile(path, Buffer.alloc(1 << 22));
  const controller = new AbortController();
  const read = async (): Promise<void> => {
    for await (const chunk of userFileChunks(path, controller.signal)) if (chunk.length > 0) controller.abort(new Error('enough'));
  };
  await expect(read()).rejects.toThrow('enough');
});
