// Results that become files: whole under their name or not there at all.
import { randomUUID } from 'node:crypto';
import { open, rename, rm, mkdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CliError, ExitCode } from './cli-error.js';

export async function writeFileWhole(path: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  const target = resolve(path);
  const incoming = join(dirname(target), `.${basename(target)}.${randomUUID().slice(0, 8)}.incoming`);
  let bytes = 0;
  try {
    await mkdir(dirname(target), { recursive: true });
    const file = await open(incoming, 'wx');
    try {
      for await (const chunk of chunks) {
        for (let done = 0; done < chunk.byteLength;) done += (await file.write(chunk, done)).bytesWritten;
        bytes += chunk.byteLength;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(incoming, target);
    return bytes;
  } catch (error) {
    await rm(incoming, { force: true });
    throw fileError(error, target);
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

/** Errors of the disk get a stable code; others pass through. */
export function fileError(error: unknown, path: string): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new CliError('DISK_FULL', `no space left to write ${path}`, { exitCode: ExitCode.failed, cause: error });
  return new CliError('FILE_UNUSABLE', `${path}: ${message}`, { exitCode: code === 'ENOENT' ? ExitCode.notFound : ExitCode.failed, cause: error });
}
