// Accepts names of the Hugging Face hub, org/name, in place of paths. A name stands for files in the cache of the hub's own programs on
// this machine. The cache has a folder for each repository. In it, a file for each revision holds the revision's commit, and each commit
// has a folder. What the cache lacks is fetched (fetch-name.ts).
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { isGgufFile } from '#gguf';

export type HubKind = 'model' | 'dataset';

export class HubNameError extends Error {}

/** A name in its parts. */
export interface HubName {
  kind: HubKind;
  organization: string;
  name: string;
  /** "REVISION", "REVISION/PATH" or undefined. */
  revised: string | undefined;
  /** The path in the repository, if no revision is given. */
  plain: string | undefined;
  /** The parts after the colons: the configuration and the split of a data set, or one of them. */
  parts: string[];
}

/** Matches "org/name", "org/name@revision", "org/name/path/in/it", "org/name@revision/path", each with ":config:split" of a data set. */
const NAME = /^([\w][\w.-]*)\/([\w][\w.-]*)(?:@([^@:]+)|\/([^@:]+))?((?::[\w.-]+){0,2})$/;
const COMMIT = /^[0-9a-f]{40}$/;
const DATA_FILE = /\.(jsonl?|[ct]sv|txt|parquet|zst|gz|bin|npy|ya?ml|safetensors|gguf)$/i;
export const MAIN = 'main';
const TO_FETCH = 'hub://';

/** Returns the parts of a name; null: the text is not a name. */
export function hubName(text: string, kind: HubKind): HubName | null {
  const [, organization, name, revised, plain, colons = ''] = NAME.exec(text) ?? [];
  if (organization === undefined || name === undefined || (colons !== '' && kind === 'model')) return null;
  return { kind, organization, name, revised, plain, parts: colons.split(':').slice(1) };
}

/** Returns the name that a result of `hubPath` stands for; null: it is a path. */
export function nameToFetch(text: string): HubName | null {
  const [, kind, name] = /^hub:\/\/(model|dataset)s\/(.+)$/s.exec(text) ?? [];
  return kind === undefined || name === undefined ? null : hubName(name, kind as HubKind);
}

/**
 * Returns the path that a name of the hub stands for, or a text for `nameToFetch` where the name has to be fetched. Returns null where the
 * text is no name. An existing path counts before a name, so neither the cache nor the hub can hide a folder. A text in an existing folder,
 * or one that ends as a file of texts does, is a mistyped path.
 * @throws HubNameError where nothing is fetched (HF_HUB_OFFLINE), and the cache lacks the revision or the file that the text names
 */
export function hubPath(text: string, kind: HubKind, path: string, env: NodeJS.ProcessEnv = process.env): string | null {
  const name = hubName(text, kind);
  if (name === null || existsSync(path)) return null;
  const mayFetch = !isOffline(env);
  if (name.parts.length > 0) return `${TO_FETCH}${kind}s/${text}`; // its files are found by the data set's own description
  try {
    const found = cachedPath(name, env);
    // A snapshot of which one file was fetched is not the folder of a model.
    const lacksModel = found !== null && kind === 'model' && isFolder(found) && !existsSync(join(found, 'config.json'));
    if (found !== null && !(lacksModel && mayFetch)) return found;
  } catch (error) {
    if (!mayFetch) throw error;
  }
  return name.revised === undefined && isMistypedPath(name, text, path) ? null : `${TO_FETCH}${kind}s/${text}`;
}

function isMistypedPath({ kind, organization, name, plain }: HubName, text: string, path: string): boolean {
  const above = path.endsWith(`${sep}${text}`) ? path.slice(0, -text.length) : '';
  const isModelFile = kind === 'model' && plain !== undefined && isGgufFile(plain);
  return (!isModelFile && DATA_FILE.test(plain ?? name)) || (above !== '' && existsSync(join(above, organization)));
}

/**
 * Returns the path in the cache; null: the cache lacks the repository, and the name gives no revision.
 * @throws HubNameError if the cache lacks what the name asks for
 */
export function cachedPath({ kind, organization, name, revised, plain }: HubName, env: NodeJS.ProcessEnv): string | null {
  const folder = join(hubCache(env), repositoryFolder(kind, organization, name));
  if (!isFolder(folder)) {
    if (revised === undefined) return null;
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

/** Returns the name of a repository's folder in the cache. */
export const repositoryFolder = (kind: HubKind, organization: string, name: string): string => `${kind}s--${organization}--${name}`;

/** Whether the environment forbids to ask the hub, by the same variables as for the hub's own programs. */
export function isOffline({ HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE }: NodeJS.ProcessEnv): boolean {
  return /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE || TRANSFORMERS_OFFLINE || '');
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

export const fromHome = (path: string): string => resolve(path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path);

export const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/** Splits "revision/path". A revision may contain slashes (refs/pr/1), and so may the path after it: the longest known revision counts. */
function split(folder: string, text: string): { commit: string | null; inside: string } {
  const parts = text.split('/');
  for (let length = parts.length; length > 0; length--) {
    const commit = commitOf(folder, parts.slice(0, length).join('/'));
    if (commit !== null) return { commit, inside: parts.slice(length).join('/') };
  }
  return { commit: null, inside: '' };
}

/** Returns the commit of a revision, by the cache. A branch or a tag has a file that holds its commit; a commit stands for itself. */
export function commitOf(folder: string, revision: string): string | null {
  if (revision.split('/').some((part) => part === '' || part === '.' || part === '..')) return null;
  const file = join(folder, 'refs', revision);
  const commit = existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8').trim() : revision;
  return COMMIT.test(commit) && isFolder(join(folder, 'snapshots', commit)) ? commit : null;
}
