// Downloads an exported model from the server's artifact store into a folder. Every file is checked against its digest, and the folder
// appears under its name only when all files are on the disk.
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { syncPath } from '#artifact-store';
import { isPlainName, makeFolder, pathInside } from '#files';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Connection } from '../connection/connection.js';
import { lastingStream, type ConnectionNews } from '../connection/lasting-stream.js';
import type { ServerAddress } from '../connection/server-address.js';
import { moveIntoPlace, writeMarker, type ExportPlace } from './export-folder.js';
import { fileError, incomingPath } from '../output/result-files.js';

/** The time that a download waits for a server that has gone. */
const SERVER_AWAY_MS = 120_000;

export interface DownloadOptions {
  digest: string;
  place: ExportPlace;
  signal?: AbortSignal;
  onProgress?: (doneShare: number) => void;
  /** Called when the connection breaks, because a restarted server may listen at another address. */
  findServer: () => ServerAddress;
  onNews?: (news: ConnectionNews) => void;
}
export interface DownloadedExport {
  folder: string;
  bytes: number;
  files: { name: string; bytes: number; digest: string }[];
}

export async function downloadExport(connection: Connection, options: DownloadOptions): Promise<DownloadedExport> {
  const { folder } = options.place;
  const { files } = await connection.call(connection.artifacts, connection.artifacts.statArtifact, { digest: options.digest });
  if (files.length === 0) throw new CliError('EXPORT_NOT_FOUND', `${options.digest} is not an export`, { exitCode: ExitCode.notFound });
  const listed = files.map((file) => ({ name: checkedName(file.name), bytes: Number(file.bytes), digest: file.digest }));
  const total = listed.reduce((sum, file) => sum + file.bytes, 0);
  const incoming = incomingPath(folder);
  let done = 0;
  try {
    makeFolder(dirname(folder));
    await mkdir(incoming);
  } catch (error) {
    throw fileError(error, folder);
  }
  try {
    for (const file of listed) {
      await downloadFile(file, pathInside(incoming, file.name), options, (bytes) => {
        done += bytes;
        options.onProgress?.(total === 0 ? 1 : done / total);
      });
    }
    await writeMarker(incoming, listed);
    await syncPath(incoming);
    options.signal?.throwIfAborted();
    await moveIntoPlace(incoming, options.place);
  } catch (error) {
    await rm(incoming, { recursive: true, force: true });
    throw fileError(error, folder);
  }
  return { folder, bytes: total, files: listed };
}

/** Tells whether a GGUF file was written by Espalier, which puts this key near its start. */
export const isOurGguf = (head: Buffer): boolean => head.subarray(0, 4).toString() === 'GGUF' && head.includes('espalier.model_card');

/** Downloads one file of an export. It appears under its name whole or not at all. */
export async function downloadExportedFile(
  connection: Connection,
  options: Omit<DownloadOptions, 'place'> & { name: string; path: string },
): Promise<DownloadedExport> {
  const { path, name } = options;
  const { files } = await connection.call(connection.artifacts, connection.artifacts.statArtifact, { digest: options.digest });
  const found = files.find((file) => file.name === name);
  if (found === undefined) throw new CliError('EXPORT_NOT_FOUND', `${options.digest} has no ${name}`, { exitCode: ExitCode.notFound });
  const file = { name: basename(path), bytes: Number(found.bytes), digest: found.digest };
  const incoming = incomingPath(path);
  let done = 0;
  try {
    await downloadFile(file, incoming, options, (bytes) => options.onProgress?.((done += bytes) / Math.max(file.bytes, 1)));
    options.signal?.throwIfAborted();
    await rename(incoming, path);
    await syncPath(dirname(path));
  } catch (error) {
    await rm(incoming, { force: true });
    throw fileError(error, path);
  }
  return { folder: dirname(path), bytes: file.bytes, files: [file] };
}

/** Checks a file's name. Names become paths, so a server must not be able to write outside the folder. */
function checkedName(name: string): string {
  if (!isPlainName(name)) {
    throw new CliError('EXPORT_INVALID', `the export names a file ${JSON.stringify(name)}, which is not a plain name`, {
      exitCode: ExitCode.failed,
    });
  }
  return name;
}

/** Downloads a file. When the connection breaks, it goes on from the last byte that arrived. The digest covers all bytes. */
async function downloadFile(
  file: { name: string; bytes: number; digest: string },
  path: string,
  options: Omit<DownloadOptions, 'place'>,
  onBytes: (bytes: number) => void,
): Promise<void> {
  makeFolder(dirname(path));
  const hash = createHash('sha256');
  const target = await open(path, 'wx');
  let received = 0;
  const { signal, findServer, onNews } = options;
  try {
    const items = lastingStream<v1.DownloadArtifactResponse>({
      findServer,
      signal,
      giveUpAfterMs: SERVER_AWAY_MS,
      isOver: () => true, // a stream that ends without an error was complete
      open: (connection) =>
        connection.stream(
          connection.artifacts,
          connection.artifacts.downloadArtifact,
          { digest: file.digest, offset: BigInt(received) },
          signal,
        ),
    });
    for await (const item of items) {
      if (item.kind !== 'message') {
        onNews?.(item);
        continue;
      }
      const { chunk } = item.message;
      hash.update(chunk);
      for (let written = 0; written < chunk.byteLength;) written += (await target.write(chunk, written)).bytesWritten;
      received += chunk.byteLength;
      onBytes(chunk.byteLength);
    }
    await target.sync();
  } finally {
    await target.close();
  }
  const digest = hash.digest('hex');
  if (digest !== file.digest) {
    throw new CliError(
      'ARTIFACT_CORRUPT',
      `${file.name} arrived with digest ${digest} (${received} bytes) instead of ${file.digest} (${file.bytes} bytes)`,
      { exitCode: ExitCode.failed },
    );
  }
}
