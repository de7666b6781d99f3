// The paths that a request of a caller with a token names: each has to lie in a folder that the server's user has named with --data-root,
// with all symbolic links followed. The server's own user may name any path, since that user reads those files anyway.
import { realpath } from 'node:fs/promises';
import { dirname, join, basename, resolve, sep } from 'node:path';
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { EspalierError, namesTableFile } from '#protocol';

const PATH_FIELD = /_paths?$/;
/** Fields that hold a path or something else, and which of their values are paths. Tasks are names of built-in ones, or task files. */
const MAYBE_PATHS: Record<string, (value: string) => boolean> = {
  tasks: (value) => /[/.]/.test(value),
  speed_table: namesTableFile,
};

type Message = Record<string, unknown>;

/** @throws EspalierError PATH_NOT_ALLOWED */
export async function requireAllowedPaths(type: DescMessage, message: object, roots: readonly string[]): Promise<void> {
  const allowed = await Promise.all(roots.map(realPlace));
  for (const { field, path } of pathsIn(type, message as Message, '')) {
    if (isInside(await realPlace(resolve(path)), allowed)) continue;
    const where = roots.length === 0 ? 'the server was started without any --data-root' : `allowed are those in ${roots.join(', ')}`;
    const description = `a caller with a token may not name this path: ${where}`;
    throw new EspalierError('PATH_NOT_ALLOWED', `${field}: ${description}`, {
      violations: [{ field, description, code: 'PATH_NOT_ALLOWED' }],
    });
  }
}

/** Every path in a message, by its field. */
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

/** A choice is { $case, value } under its own name. */
function valueOf({ localName, oneof }: DescField, message: Message): unknown {
  if (oneof === undefined) return message[localName];
  const choice = message[oneof.localName] as { $case: string; value: unknown } | undefined;
  return choice?.$case === localName ? choice.value : undefined;
}

/** @param roots and `place` with all links followed */
export function isInside(place: string, roots: readonly string[]): boolean {
  return roots.some((root) => place === root || place.startsWith(root.endsWith(sep) ? root : root + sep));
}

/** The place where a path leads. A part that is not there stays as it is written: what is missing leads nowhere. */
export async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return dirname(path) === path ? path : join(await realPlace(dirname(path)), basename(path));
  }
}
