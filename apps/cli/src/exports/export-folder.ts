// The folder of an exported model at the place that a user names. Only an unchanged export by Espalier is ever replaced: its marker file
// names the other files by digest, and each of them is checked. No other files are removed.
import { lstat, open, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { decodeExportManifest, encodeExportManifest, syncPath, type ExportManifestFile } from '#artifact-store';
import { digestOfFile, readUserFile } from '#files';
import { CliError, ExitCode } from '../cli-error.js';
import { fileError, REPLACED, requireOutsideDataFolder, requireWritable } from '../output/result-files.js';

export const EXPORT_MARKER = 'espalier-export.json';
/** The largest marker. It is far above the manifest of a model in hundreds of files. */
const MARKER_MAX_BYTES = 1 << 20;

/** A place where a new export may be put. */
export interface ExportPlace {
  folder: string;
  /** The files of an earlier export there, with their sizes and times when their bytes were checked; undefined for a new folder. */
  old: { files: ExportManifestFile[]; looks: string } | undefined;
}

/** @throws CliError FOLDER_EXISTS, FOLDER_FOREIGN */
export async function findExportPlace(path: string, force: boolean, signal?: AbortSignal): Promise<ExportPlace> {
  const folder = resolve(path);
  requireOutsideDataFolder(folder, '--out');
  const found = await lstat(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(error, folder);
  });
  if (found === undefined) {
    await requireWritable(folder);
    return { folder, old: undefined };
  }
  if (found.isSymbolicLink()) throw foreign(folder, 'it is a symbolic link');
  if (!found.isDirectory()) throw foreign(folder, 'it is a file');
  if (`${process.cwd()}${sep}`.startsWith(folder === sep ? sep : `${folder}${sep}`)) throw foreign(folder, 'you are in it');
  const names = await readdir(folder).catch((error: unknown) => Promise.reject(fileError(error, folder)));
  if (names.length === 0) return { folder, old: undefined };
  if (!force) {
    throw new CliError('FOLDER_EXISTS', `${folder} exists already`, {
      field: '--out',
      exitCode: ExitCode.notAllowed,
      hint: 'another folder, or --force to replace an earlier export there',
    });
  }
  const files = await filesOfExport(folder);
  const looks = await looksOf(folder, files);
  for (const { name, digest } of files) {
    if ((await digestOfFile(join(folder, name), signal)) !== digest) throw foreign(folder, `${name} has been changed`);
  }
  return { folder, old: { files, looks } };
}

/** Returns the files that the marker in the folder names. @throws Error that says what is wrong with the marker */
export async function readMarker(folder: string): Promise<ExportManifestFile[]> {
  return decodeExportManifest(await readUserFile(join(folder, EXPORT_MARKER), MARKER_MAX_BYTES));
}

/** Returns the marker's files, if the folder holds exactly these files. */
async function filesOfExport(folder: string): Promise<ExportManifestFile[]> {
  let files: ExportManifestFile[];
  try {
    files = await readMarker(folder);
  } catch {
    throw foreign(folder, `it has no ${EXPORT_MARKER} of an export`);
  }
  const bytesOf = new Map(files.map(({ name, bytes }) => [name, bytes]));
  bytesOf.delete(EXPORT_MARKER);
  const folders = foldersOf(files);
  for await (const entry of entriesOf(folder, folders)) {
    if (entry.isFolder && folders.has(entry.name)) continue;
    if (entry.name === EXPORT_MARKER && entry.isFile) continue;
    if (!entry.isFile || !bytesOf.has(entry.name)) throw foreign(folder, `it holds ${JSON.stringify(entry.name)}`);
    if (entry.size !== bytesOf.get(entry.name)) throw foreign(folder, `${entry.name} has been changed`);
    bytesOf.delete(entry.name);
  }
  const [missing] = bytesOf.keys();
  if (missing !== undefined) throw foreign(folder, `${missing} is missing`);
  return files;
}

export interface Entry {
  /** The path within the folder, with slashes. */
  name: string;
  isFile: boolean;
  isFolder: boolean;
  size: number;
  mtimeMs: number;
}

/** Returns the folders inside the export that hold its files. */
export function foldersOf(files: readonly ExportManifestFile[]): Set<string> {
  const folders = new Set<string>();
  for (const { name } of files) for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) folders.add(name.slice(0, at));
  return folders;
}

/**
 * Yields all entries of the folder and of the given folders in it. Other folders are not opened, since they may hold a whole file system.
 */
export async function* entriesOf(folder: string, folders: ReadonlySet<string>, below = ''): AsyncGenerator<Entry> {
  const unreadable = (error: unknown): Promise<never> => Promise.reject(fileError(error, join(folder, below)));
  for (const own of (await readdir(join(folder, below)).catch(unreadable)).sort()) {
    const name = below === '' ? own : `${below}/${own}`;
    const found = await lstat(join(folder, name)).catch(unreadable);
    yield { name, size: found.size, mtimeMs: found.mtimeMs, isFile: found.isFile(), isFolder: found.isDirectory() };
    if (found.isDirectory() && folders.has(name)) yield* entriesOf(folder, folders, name);
  }
}

async function looksOf(folder: string, files: readonly ExportManifestFile[]): Promise<string> {
  const entries: Entry[] = [];
  for await (const entry of entriesOf(folder, foldersOf(files))) entries.push(entry);
  return JSON.stringify(entries);
}

export async function writeMarker(folder: string, files: ExportManifestFile[]): Promise<void> {
  const file = await open(join(folder, EXPORT_MARKER), 'wx');
  try {
    await file.writeFile(encodeExportManifest(files));
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Moves a new export into its place. The old one stays until then, and files that were added to it meanwhile are not lost. */
export async function moveIntoPlace(incoming: string, { folder, old }: ExportPlace): Promise<void> {
  if (old === undefined) {
    await rename(incoming, folder); // this fails if the folder is no longer empty
    await syncPath(dirname(folder));
    return;
  }
  if ((await looksOf(folder, old.files)) !== old.looks) throw foreign(folder, 'it has been changed since the export began');
  const replaced = `${incoming}${REPLACED}`;
  await rename(folder, replaced);
  try {
    await rename(incoming, folder);
  } catch (error) {
    await rename(replaced, folder);
    throw error;
  }
  await syncPath(dirname(folder));
  await removeExport(replaced, old.files);
}

async function removeExport(folder: string, files: ExportManifestFile[]): Promise<void> {
  try {
    for (const { name } of files) await unlink(join(folder, name));
    await unlink(join(folder, EXPORT_MARKER)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // the manifest named the marker itself, which is gone already
    });
    // The innermost folders are removed first.
    for (const name of [...foldersOf(files)].sort().reverse()) await rmdir(join(folder, name));
    await rmdir(folder);
  } catch (error) {
    throw fileError(error, `the new export is in its place, but the old one could not be removed from ${folder}`);
  }
}

function foreign(folder: string, why: string): CliError {
  return new CliError('FOLDER_FOREIGN', `${folder} is not replaced, since it is not an export as Espalier wrote it: ${why}`, {
    field: '--out',
    exitCode: ExitCode.notAllowed,
    hint: 'name a folder that does not exist yet',
  });
}
