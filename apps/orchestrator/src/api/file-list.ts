// Lists the folders, models and texts in a folder, for a form that asks for a path. Nothing outside the roots is listed, wherever a link
// leads.
import { lstat, opendir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Dirent, Stats } from 'node:fs';
import { isDataFile } from '#model-files';
import { invalidField, v1, type EspalierError } from '#protocol';
import { isInside, realPlace } from './admission/allowed-paths.js';

const { FILE_KIND_FOLDER, FILE_KIND_MODEL, FILE_KIND_TEXT } = v1.FileKind;
const ENTRIES_MAX = 1_000;
/** A folder with more entries is looked at only in part. */
const LOOKED_AT_MAX = 20_000;
/** A folder with more entries is not a model: all known models have fewer files of weights. */
const MODEL_ENTRIES_MAX = 2_000;
const ORDER = [FILE_KIND_MODEL, FILE_KIND_FOLDER, FILE_KIND_TEXT];

interface Places {
  /** The folders in which a user can begin. */
  roots: readonly string[];
  /** The folders that are never listed: the server's own. */
  hidden: readonly string[];
}

/**
 * @param path a folder, or something in it that need not exist; '' for the roots
 * @throws EspalierError PATH_NOT_ALLOWED, IO_ERROR
 */
export async function listFiles(path: string, { roots, hidden }: Places): Promise<v1.ListFilesResponse> {
  const known = { roots: await folders(roots), hidden: await Promise.all(hidden.map(realPlace)) };
  if (path === '') {
    const entries = await Promise.all(known.roots.map(async (root) => folderEntry(root, root, await statOf(root), known.roots)));
    return { folderPath: '', parentPath: '', entries, leftOut: 0 };
  }
  const folder = await nearestFolder(await realPlace(resolve(path)));
  if (!isInside(folder, known.roots) || isInside(folder, known.hidden)) throw notAllowed(known.roots);
  const { entries, leftOut } = await entriesOf(folder, known);
  const parent = dirname(folder);
  return { folderPath: folder, parentPath: isInside(parent, known.roots) ? parent : '', entries, leftOut };
}

async function entriesOf(folder: string, places: Places): Promise<{ entries: v1.FileEntry[]; leftOut: number }> {
  const found: string[] = [];
  let looked = 0;
  for await (const entry of await opened(folder)) {
    if ((looked += 1) > LOOKED_AT_MAX) break;
    if (!entry.name.startsWith('.') && mayMatter(entry)) found.push(entry.name);
  }
  found.sort((a, b) => (a < b ? -1 : 1));
  const known = await Promise.all(found.slice(0, ENTRIES_MAX).map((name) => entryAt(join(folder, name), places)));
  const entries = known.filter((one) => one !== null).sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  return { entries, leftOut: Math.max(0, found.length - ENTRIES_MAX) };
}

const mayMatter = (entry: Dirent): boolean => entry.isDirectory() || entry.isSymbolicLink() || (entry.isFile() && isDataFile(entry.name));

/** Returns null for an entry that a form does not ask for, or that leads out of the roots. */
async function entryAt(path: string, { roots, hidden }: Places): Promise<v1.FileEntry | null> {
  const place = await realPlace(path);
  if (!isInside(place, roots) || isInside(place, hidden)) return null;
  const there = await statOf(place);
  if (there === null) return null;
  if (there.isDirectory()) return folderEntry(path, basename(path), there, roots);
  if (!there.isFile() || !isDataFile(path)) return null;
  return { name: basename(path), path, kind: FILE_KIND_TEXT, bytes: BigInt(there.size), modifiedAt: there.mtime };
}

/** Describes a folder. A folder with a config.json and weights is a model. */
async function folderEntry(path: string, name: string, there: Stats | null, roots: readonly string[]): Promise<v1.FileEntry> {
  const folder: v1.FileEntry = { name, path, kind: FILE_KIND_FOLDER, bytes: 0n, modifiedAt: there?.mtime };
  let bytes = 0n;
  let looked = 0;
  try {
    await lstat(join(path, 'config.json')); // most folders have none, and then need not be read
    for await (const entry of await opendir(path)) {
      if ((looked += 1) > MODEL_ENTRIES_MAX) return folder;
      if (entry.name.endsWith('.safetensors')) bytes += await sizeInside(join(path, entry.name), roots);
    }
  } catch {
    return folder; // the folder can't be read, or is not a model
  }
  return bytes > 0n ? { ...folder, kind: FILE_KIND_MODEL, bytes } : folder;
}

/** Returns the size of a file in the roots. Links are followed, since the caches of the hub hold links to the weights. */
async function sizeInside(path: string, roots: readonly string[]): Promise<bigint> {
  const place = await realPlace(path);
  if (!isInside(place, roots)) return 0n;
  const file = await statOf(place);
  return file?.isFile() === true ? BigInt(file.size) : 0n;
}

/** The roots that exist, with all links followed. */
async function folders(roots: readonly string[]): Promise<string[]> {
  const places = await Promise.all(roots.map(async (root) => ({ place: await realPlace(root), isThere: await isFolder(root) })));
  return [...new Set(places.flatMap(({ place, isThere }) => (isThere ? [place] : [])))];
}

/** Returns the nearest folder that exists, for a path that a user is still typing. */
async function nearestFolder(place: string): Promise<string> {
  for (let folder = place; ; folder = dirname(folder)) if ((await isFolder(folder)) || dirname(folder) === folder) return folder;
}

async function isFolder(path: string): Promise<boolean> {
  return (await statOf(path))?.isDirectory() === true;
}

/** Returns null where the path does not exist or can't be read. */
function statOf(path: string): Promise<Stats | null> {
  return stat(path).catch(() => null);
}

async function opened(folder: string): ReturnType<typeof opendir> {
  try {
    return await opendir(folder);
  } catch (error) {
    throw invalidField('IO_ERROR', 'folder_path', `the folder can't be read: ${(error as Error).message}`);
  }
}

const notAllowed = (roots: readonly string[]): EspalierError =>
  invalidField('PATH_NOT_ALLOWED', 'folder_path', `this folder is not listed; listed are those in ${roots.join(', ') || 'no folder'}`);
