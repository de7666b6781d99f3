// Checks whether an export on a disk is unchanged. A folder's marker file names its files by digest. A GGUF file holds its own digest,
// which is computed with zeros in the digest's place. The check asks no server, store or network.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf, encodeExportManifest, GGUF_HEAD_BYTES, sealIn, withoutSeal, type ExportManifestFile } from '#artifact-store';
import { digestOfFile, kindOf, openUserFile, userFileChunks } from '#files';
import { CliError, ExitCode } from '../cli-error.js';
import { entriesOf, EXPORT_MARKER, foldersOf, readMarker, type Entry } from './export-folder.js';
import { fileError } from '../output/result-files.js';

interface CheckedFile {
  name: string;
  /** The size of the file on the disk; null: it is missing. */
  bytes: number | null;
  digest: string;
  /** The problem with the file; '': it is unchanged. */
  problem: string;
}
export interface ExportReport {
  path: string;
  kind: 'folder' | 'gguf';
  ok: boolean;
  /** The digest in the run's history: a folder's is the digest of the export, a GGUF file's is that of `model.gguf` in the export. */
  digest: string;
  files: CheckedFile[];
}

/** @throws CliError EXPORT_NOT_FOUND, EXPORT_UNKNOWN */
export async function checkExport(path: string, signal?: AbortSignal): Promise<ExportReport> {
  const found = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileError(error, path);
    throw new CliError('EXPORT_NOT_FOUND', `${path} is not there`, { exitCode: ExitCode.notFound });
  });
  if (found.isDirectory()) return checkFolder(path, signal);
  if (found.isFile()) return checkGguf(path, signal);
  throw unknown(path, `it is ${kindOf(found)}`);
}

async function checkFolder(path: string, signal?: AbortSignal): Promise<ExportReport> {
  const listed = await readMarker(path).catch((error: unknown) => {
    throw unknown(path, `it has no ${EXPORT_MARKER} that can be read (${(error as Error).message})`);
  });
  const folders = foldersOf(listed);
  const entries = new Map<string, Entry>();
  for await (const entry of entriesOf(path, folders)) entries.set(entry.name, entry);
  const files: CheckedFile[] = [];
  for (const file of listed) {
    const entry = entries.get(file.name);
    entries.delete(file.name);
    if (entry === undefined) files.push({ name: file.name, bytes: null, digest: '', problem: 'it is missing' });
    else if (!entry.isFile) files.push({ name: file.name, bytes: null, digest: '', problem: 'it is no longer a file' });
    else files.push(await checkedFile(path, file, entry.size, signal));
  }
  entries.delete(EXPORT_MARKER);
  for (const { name, isFolder, size } of entries.values()) {
    if (isFolder && folders.has(name)) continue;
    files.push({ name, bytes: size, digest: '', problem: 'the export had no such file' });
  }
  return { path, kind: 'folder', ok: files.every(({ problem }) => problem === ''), digest: digestOf(encodeExportManifest(listed)), files };
}

async function checkedFile(
  folder: string,
  { name, bytes, digest }: ExportManifestFile,
  size: number,
  signal?: AbortSignal,
): Promise<CheckedFile> {
  const found = await digestOfFile(join(folder, name), signal);
  const was = size === bytes ? 'its bytes are others' : `it has ${size} bytes, not ${bytes}`;
  return { name, bytes: size, digest: found, problem: found === digest ? '' : was };
}

async function checkGguf(path: string, signal?: AbortSignal): Promise<ExportReport> {
  const head = await headOf(path);
  if (head.subarray(0, 4).toString('latin1') !== 'GGUF') throw unknown(path, 'it is not a GGUF file');
  const seal = sealIn(head);
  if (seal === undefined) throw unknown(path, 'it holds no digest of itself, as exports of this release do');
  const [whole, sealed] = [createHash('sha256'), createHash('sha256')];
  let at = 0;
  for await (const chunk of userFileChunks(path, signal)) {
    whole.update(chunk);
    sealed.update(withoutSeal(chunk, at, seal));
    at += chunk.byteLength;
  }
  const problem = sealed.digest('hex') === seal.digest ? '' : 'its bytes do not match the digest in it';
  const digest = whole.digest('hex');
  return { path, kind: 'gguf', ok: problem === '', digest, files: [{ name: path, bytes: at, digest, problem }] };
}

async function headOf(path: string): Promise<Buffer> {
  const file = await openUserFile(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(GGUF_HEAD_BYTES), 0, GGUF_HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function unknown(path: string, why: string): CliError {
  return new CliError('EXPORT_UNKNOWN', `${path} is not an export that can be checked: ${why}`, {
    exitCode: ExitCode.failed,
    hint: `a folder with ${EXPORT_MARKER}, or a GGUF file that espalier export wrote`,
  });
}
