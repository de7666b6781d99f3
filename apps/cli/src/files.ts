// Results that become files: whole under their name or not there at all.
import { randomUUID } from 'node:crypto';
import { open, rename, rm, mkdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CliError, ExitCode } from './cli-error.js';

/** `finish` may work on the file before it gets its name. Gives the size. Nothing is made before the first bytes are there. */
export async function writeFileWhole(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  finish: (incoming: string) => Promise<void> = async () => undefined,
): Promise<number> {
  const target = resolve(path);
  const incoming = join(dirname(target), `.${basename(target)}.${randomUUID().slice(0, 8)}.incoming`);
  const source = chunks[Symbol.asyncIterator]();
  let next = await source.next();
  try {
    await mkdir(dirname(target), { recursive: true });
    const file = await open(incoming, 'wx');
    try {
      for (; next.done !== true; next = await source.next()) {
        for (let done = 0; done < next.value.byteLength;) done += (await file.write(next.value, done)).bytesWritten;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await finish(incoming);
    const { size } = await stat(incoming);
    await rename(incoming, target);
    return size;
  } catch (error) {
    await source.return?.();
    await rm(incoming, { force: true });
    throw fileError(error, target);
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Errors of the disk get a stable code; others pass through. */
export function fileError(error: unknown, path: string): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new CliError('DISK_FULL', `no space left to write ${path}`, { exitCode: ExitCode.failed, cause: error });
  return new CliError('FILE_UNUSABLE', `${path}: ${message}`, {
    exitCode: code === 'ENOENT' ? ExitCode.notFound : ExitCode.failed,
    cause: error,
  });
}
