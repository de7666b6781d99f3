// Names of the Hugging Face hub, org/name, in place of paths. They stand for files in the cache of the hub's own programs on this
// machine. The cache has a folder for each repository, with a file for each revision that holds its commit, and a folder for each commit.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export type HubKind = 'model' | 'dataset';

export class HubNameError extends Error {}

/** "org/name", "org/name@revision", and "org/name/path/in/it" or "org/name@revision/path". */
const NAME = /^([\w][\w.-]*)\/([\w][\w.-]*)(?:@([^@]+)|\/([^@]+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;
const MAIN = 'main';

/**
 * The path that a name of the hub stands for; null: the text is no such name, or the cache lacks its repository. A path that is there
 * counts before a name, so a folder can't be hidden by what is in the cache.
 * @throws HubNameError where the repository is in the cache, and the revision or the file is not
 */
export function hubPath(text: string, kind: HubKind, path: string, env: NodeJS.ProcessEnv = process.env): string | null {
  const match = NAME.exec(text);
  if (match === null || existsSync(path)) return null;
  const [, organization, name, revised, plain] = match;
  const folder = join(hubCache(env), `${kind}s--${organization}--${name}`);
  if (!isFolder(folder)) {
    if (revised === undefined) return null; // a path that is not there, it may be; the server says so
    throw new HubNameError(`There is no ${kind} ${organization}/${name} in the cache of Hugging Face, ${hubCache(env)}.`);
  }
  const { commit, inside } = revised === undefined ? { commit: commitOf(folder, MAIN), inside: plain ?? '' } : split(folder, revised);
  if (commit === null) {
    const wanted = revised ?? MAIN;
    throw new HubNameError(`The cache of Hugging Face has no revision ${wanted} of ${organization}/${name}: ${folder}`);
  }
  const found = join(folder, 'snapshots', commit, inside);
  if (!inside.split('/').includes('..') && existsSync(found)) return found;
  throw new HubNameError(`${organization}/${name} at ${commit} has no ${inside} in the cache of Hugging Face.`);
}

/** Where the hub's own programs look, in their order. */
export function hubCache({ HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME }: NodeJS.ProcessEnv): string {
  const own = HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE;
  if (own) return fromHome(own);
  return join(fromHome(HF_HOME || join(XDG_CACHE_HOME || '~/.cache', 'huggingface')), 'hub');
}

/** A path as people read it: "org/name at commit 0123..., FILE" where it lies in a cache of the hub. */
export function pathWords(path: string): string {
  const match = /\/(?:model|dataset)s--([\w.-]+?)--([\w.-]+)\/snapshots\/([0-9a-f]{40})(?:\/(.+))?$/.exec(path);
  if (match === null) return path;
  const [, organization, name, commit, inside] = match;
  return `${organization}/${name} at commit ${commit}${inside === undefined ? '' : `, ${inside}`}`;
}

const fromHome = (path: string): string => resolve(path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path);

const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/** A revision may hold slashes (refs/pr/1), and so may the path after it: the longest that is known counts. */
function split(folder: string, text: string): { commit: string | null; inside: string } {
  const parts = text.split('/');
  for (let length = parts.length; length > 0; length--) {
    const commit = commitOf(folder, parts.slice(0, length).join('/'));
    if (commit !== null) return { commit, inside: parts.slice(length).join('/') };
  }
  return { commit: null, inside: '' };
}

/** A branch or a tag has a file that holds its commit; a commit stands for itself. */
function commitOf(folder: string, revision: string): string | null {
  if (revision.split('/').some((part) => part === '' || part === '.' || part === '..')) return null;
  const file = join(folder, 'refs', revision);
  const commit = existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8').trim() : revision;
  return COMMIT.test(commit) && isFolder(join(folder, 'snapshots', commit)) ? commit : null;
}
