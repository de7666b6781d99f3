// Checks the paths that a request with a token names. Each has to lie in a folder that the server's user has named with --data-root, with
// all symbolic links followed. The server's own user may name any path, since that user can read these files anyway.
import { readdir, realpath } from 'node:fs/promises';
import { dirname, join, basename, resolve, sep } from 'node:path';
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { EspalierError, namesTableFile } from '#protocol';

const PATH_FIELD = /_paths?$/;
/**
 * Fields that may hold a path or something else, and which of their values are paths. Tasks are names of built-in tasks or files of tasks.
 */
const MAYBE_PATHS: Record<string, (value: string) => boolean> = {
  tasks: (value) => /[/.]/.test(value),
  speed_table: namesTableFile,
};

type Message = Record<string, unknown>;

/** @throws EspalierError PATH_NOT_ALLOWED */
export async function requireAllowedPaths(type: DescMessage, message: object, roots: readonly string[]): Promise<void> {
  const allowed = await Promise.all(roots.map(realPlace));
  for (const { field, path } of pathsIn(type, message as Message, '')) {
    const place = await realPlace(resolve(path));
    if (isInside(place, allowed) && (await linksIn(place)).every((to) => isInside(to, allowed))) continue;
    const where = roots.length === 0 ? 'the server was started without any --data-root' : `allowed are those in ${roots.join(', ')}`;
    const description = `a caller with a token may not name this path: ${where}`;
    throw new EspalierError('PATH_NOT_ALLOWED', `${field}: ${description}`, {
      violations: [{ field, description, code: 'PATH_NOT_ALLOWED' }],
    });
  }
}

/** The places to which links in a folder lead, since a reader of the folder follows them. */
async function linksIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return Promise.all(entries.filter((entry) => entry.isSymbolicLink()).map(({ name }) => realPlace(join(folder, name))));
}

/** Yields every path in a message, with its field. */
export function* pathsIn(type: DescMessage, message: Message, prefix: string): Iterable<{ field: string; path: string }> {
  for (const one of type.fields) {
    const { name, message: inner } = one;
    const value = valueOf(one, message);
    const items = Array.isArray(value) ? (value as unknown[]) : [value];
    for (const [index, item] of items.entries()) {
      const field = `${prefix}${name}${Array.isArray(value) ? `[${index}]` : ''}`;
      if (typeof item === 'string' && item !== '' && (PATH_FIELD.test(name) || MAYBE_PATHS[name]?.(item) === true))
        yield { field, path: item };
      else if (inner !== undefined && typeof item === 'object' && item !== null) yield* pathsIn(inner, item as Message, `${field}.`);
    }
  }
}

/** Reads a field. A field of a choice is { $case, value } under the name of the choice. */
function valueOf({ localName, oneof }: DescField, message: Message): unknown {
  if (oneof === undefined) return message[localName];
  const choice = message[oneof.localName] as { $case: string; value: unknown } | undefined;
  return choice?.$case === localName ? choice.value : undefined;
}

/** @param roots folders with all links followed, as in `place` */
export function isInside(place: string, roots: readonly string[]): boolean {
  return roots.some((root) => place === root || place.startsWith(root.endsWith(sep) ? root : root + sep));
}

/**
 * Returns the place to which a path leads. The parts that do not exist stay as they are written, since nothing there can lead elsewhere.
 */
export async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return dirname(path) === path ? path : join(await realPlace(dirname(path)), basename(path));
  }
}
