// Accepts names of the Hugging Face hub, org/name, in place of paths. A name stands for files in the cache of the hub's own programs on
// this machine. The cache has a folder for each repository. In it, a file for each revision holds the revision's commit, and each commit
// has a folder.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export type HubKind = 'model' | 'dataset';

export class HubNameError extends Error {}

/** Matches "org/name", "org/name@revision", "org/name/path/in/it" and "org/name@revision/path". */
const NAME = /^([\w][\w.-]*)\/([\w][\w.-]*)(?:@([^@]+)|\/([^@]+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;
const MAIN = 'main';

/**
 * Returns the path that a name of the hub stands for, or null where the text is not such a name or the cache lacks its repository. An
 * existing path counts before a name, so the cache can't hide a folder.
 * @throws HubNameError if the cache has the repository, but not the revision or the file
 */
export function hubPath(text: string, kind: HubKind, path: string, env: NodeJS.ProcessEnv = process.env): string | null {
  const match = NAME.exec(text);
  if (match === null || existsSync(path)) return null;
  const [, organization, name, revised, plain] = match;
  const folder = join(hubCache(env), `${kind}s--${organization}--${name}`);
  if (!isFolder(folder)) {
    if (revised === undefined) return null; // the text may be a path that does not exist, which the server then reports
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

/** Returns the folder of the cache. It follows the same environment variables, in the same order, as the hub's own programs. */
export function hubCache({ HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME }: NodeJS.ProcessEnv): string {
  const own = HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE;
  if (own) return fromHome(own);
  return join(fromHome(HF_HOME || join(XDG_CACHE_HOME || '~/.cache', 'huggingface')), 'hub');
}

/** Returns a path as people read it: "org/name at commit 0123..., FILE" if it lies in a cache of the hub. */
export function pathWords(path: string): string {
  const match = /\/(?:model|dataset)s--([\w.-]+?)--([\w.-]+)\/snapshots\/([0-9a-f]{40})(?:\/(.+))?$/.exec(path);
  if (match === null) return path;
  const [, organization, name, commit, inside] = match;
  return `${organization}/${name} at commit ${commit}${inside === undefined ? '' : `, ${inside}`}`;
}

const fromHome = (path: string): string => resolve(path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path);

const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/** Splits "revision/path". A revision may contain slashes (refs/pr/1), and so may the path after it: the longest known revision counts. */
function split(folder: string, text: string): { commit: string | null; inside: string } {
  const parts = text.split('/');
  for (let length = parts.length; length > 0; length--) {
    const commit = commitOf(folder, parts.slice(0, length).join('/'));
    if (commit !== null) return { commit, inside: parts.slice(length).join('/') };
  }
  return { commit: null, inside: '' };
}

/** Returns the commit of a revision. A branch or a tag has a file that holds its commit; a commit stands for itself. */
function commitOf(folder: string, revision: string): string | null {
  if (revision.split('/').some((part) => part === '' || part === '.' || part === '..')) return null;
  const file = join(folder, 'refs', revision);
  const commit = existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8').trim() : revision;
  return COMMIT.test(commit) && isFolder(join(folder, 'snapshots', commit)) ? commit : null;
}
