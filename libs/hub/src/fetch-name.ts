// Fetches what a name of the hub stands for: a model, or a split of a data set. Only the files that Espalier reads are fetched. None of
// them is a program, and none is run.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isPlainName, readUserFile } from '#files';
import { isGgufFile } from '#gguf';
import { filesOfSplit } from './data-splits.js';
import { fetchBlobs, linkSnapshot, writeRevision, type Fetching } from './fetch-files.js';
import { hubAccess, type AccessOptions } from './hub-access.js';
import { HubError } from './hub-error.js';
import { cachedPath, commitOf, hubCache, isFolder, isOffline, MAIN, repositoryFolder, type HubName } from './hub-names.js';
import { readRevision, repositoryOf, type HubFile } from './hub-repository.js';

const README = 'README.md';
const INDEX = 'model.safetensors.index.json';
const WHOLE = 'model.safetensors';
/** The files beside the weights that describe a model and make its tokens. */
const BESIDE_WEIGHTS = /^(?!(?:adapter_|training_|trainer_))[^/]+\.(json|txt|model|jinja)$|^(LICEN[CS]E|NOTICE|README)[^/]*$/i;
const WEIGHTS = /^[^/]+\.safetensors$/;
const DATA_FILE = /\.(jsonl?|csv|tsv|txt|parquet)(\.gz|\.zst)?$/i;
/** No file that describes a model is larger; those of the largest vocabularies have some tens of megabytes. */
const SMALL_BYTES_MAX = 256 << 20;

export interface FetchOptions extends AccessOptions {
  /** Is called with the bytes that are there, and those of all files that are wanted so far. */
  onProgress?: (doneBytes: number, allBytes: number) => void;
  /** Asks the hub also where the cache has the name. */
  renew?: boolean;
}

export interface Fetched {
  /** A model's folder, a data set's folder, or the files of a split. */
  paths: string[];
  commit: string;
}

/** @throws HubError, HubNameError, or the signal's reason */
export async function fetchName(name: HubName, options: FetchOptions = {}): Promise<Fetched> {
  const { env = process.env } = options;
  const cached = options.renew === true ? null : await cachedSplit(name, env);
  if (cached !== null) return cached;
  const repository = repositoryOf(name);
  if (isOffline(env)) {
    const found = name.parts.length === 0 ? cachedPath(name, env) : null;
    if (found !== null) return { paths: [found], commit: /[0-9a-f]{40}/.exec(found)?.[0] ?? '' };
    throw new HubError('HUB_OFFLINE', `the cache ${hubCache(env)} lacks ${textOf(name)}, and HF_HUB_OFFLINE forbids to fetch it`);
  }
  const access = hubAccess(options);
  const { revision, inside } = revisionOf(name);
  if (!isPlainName(revision)) throw new HubError('HUB_NOT_FOUND', `${JSON.stringify(revision)} is no name of a revision`);
  const { commit, files } = await readRevision(access, name, revision);
  const fetching: Fetching = {
    access,
    resolveUrl: `${access.endpoint}/${name.kind === 'dataset' ? 'datasets/' : ''}${repository}/resolve/${commit}`,
    folder: join(hubCache(env), repositoryFolder(name.kind, name.organization, name.name)),
    commit,
    signal: options.signal,
    ...(options.pauseMs === undefined ? {} : { pauseMs: options.pauseMs }),
  };
  const fetch = progressing(fetching, options);
  const wanted = await (name.kind === 'dataset'
    ? fetchData(fetch, fetching, name, files, inside)
    : isGgufFile(inside)
      ? fetchOne(fetch, repository, files, inside)
      : fetchModel(fetch, fetching, repository, files));
  const snapshot = await linkSnapshot(fetching, wanted.all);
  await writeRevision(fetching, revision);
  return { paths: wanted.paths.map((path) => join(snapshot, path)), commit };
}

type Fetch = (files: readonly HubFile[]) => Promise<void>;
/** The files that were fetched, and the paths among them that the name stands for. */
interface FetchRequest {
  all: HubFile[];
  paths: string[];
}

/** Returns a function that fetches files, and counts the bytes of all its calls. */
function progressing(fetching: Fetching, { onProgress }: FetchOptions): Fetch {
  let [done, all] = [0, 0];
  return async (files) => {
    const { folder } = fetching;
    for (const { size, digest } of files) {
      all += size;
      if (existsSync(join(folder, 'blobs', digest))) done += size;
    }
    const onBytes = (bytes: number): void => onProgress?.((done += bytes), all);
    onBytes(0);
    await fetchBlobs({ ...fetching, onBytes }, files);
  };
}

async function fetchOne(fetch: Fetch, repository: string, files: HubFile[], inside: string): Promise<FetchRequest> {
  const all = files.filter(({ path }) => path === inside);
  if (all.length === 0) throw new HubError('HUB_NOT_FOUND', `${repository} has no file ${inside}; it has ${ggufWords(files)}`);
  await fetch(all);
  return { all, paths: [inside] };
}

function ggufWords(files: readonly HubFile[]): string {
  const names = files.map(({ path }) => path).filter((path) => isGgufFile(path));
  return names.length === 0 ? 'no GGUF file' : `${names.slice(0, 30).join(', ')}${names.length > 30 ? ' and more' : ''}`;
}

/** Fetches the small files first: one of them names the files of the weights. */
async function fetchModel(fetch: Fetch, { folder }: Fetching, repository: string, files: HubFile[]): Promise<FetchRequest> {
  const small = files.filter(({ path, size }) => BESIDE_WEIGHTS.test(path) && size <= SMALL_BYTES_MAX);
  if (!small.some(({ path }) => path === 'config.json'))
    throw new HubError(
      'HUB_NOT_FOUND',
      `${repository} has no config.json at its top, so it is no folder of a model; a file is named ${repository}/FILE.gguf, ` +
        `and it has ${ggufWords(files)}`,
    );
  await fetch(small);
  const weights = await weightFiles(folder, small, files);
  if (weights.length === 0)
    throw new HubError('HUB_NOT_FOUND', `${repository} has no weights as safetensors at its top; files of other forms are not fetched`);
  await fetch(weights);
  return { all: [...small, ...weights], paths: [''] };
}

/** Returns the files that the index names, else the whole file, else all that there are. */
async function weightFiles(folder: string, small: HubFile[], files: HubFile[]): Promise<HubFile[]> {
  const index = small.find(({ path }) => path === INDEX);
  const all = files.filter(({ path }) => WEIGHTS.test(path));
  if (index === undefined) {
    const whole = all.filter(({ path }) => path === WHOLE);
    return whole.length > 0 ? whole : all;
  }
  const shards = shardsOf(await readUserFile(join(folder, 'blobs', index.digest), SMALL_BYTES_MAX));
  const missing = shards.filter((shard) => !all.some(({ path }) => path === shard));
  if (missing.length > 0)
    throw new HubError('HUB_ANSWER_INVALID', `${INDEX} names ${JSON.stringify(missing[0])}, which is no file of weights at the top`);
  return all.filter(({ path }) => shards.includes(path));
}

/** @throws HubError if the index has no map of tensors to files */
function shardsOf(index: Uint8Array): string[] {
  try {
    const { weight_map: map } = JSON.parse(Buffer.from(index).toString('utf8')) as { weight_map: Record<string, string> };
    return [...new Set(Object.values(map))];
  } catch (error) {
    throw new HubError('HUB_ANSWER_INVALID', `${INDEX} can't be read: ${(error as Error).message}`);
  }
}

async function fetchData(fetch: Fetch, { folder }: Fetching, name: HubName, files: HubFile[], inside: string): Promise<FetchRequest> {
  if (inside !== '' && name.parts.length === 0) {
    const below = files.filter(({ path }) => DATA_FILE.test(path) && (path === inside || path.startsWith(`${inside}/`)));
    if (below.length === 0) throw new HubError('HUB_NOT_FOUND', `${repositoryOf(name)} has no file of a known form at ${inside}`);
    await fetch(below);
    return { all: below, paths: [inside] };
  }
  const readme = files.filter(({ path, size }) => path === README && size <= SMALL_BYTES_MAX);
  await fetch(readme);
  const text = readme.length === 0 ? '' : (await readUserFile(join(folder, 'blobs', readme[0]!.digest), SMALL_BYTES_MAX)).toString('utf8');
  const paths = filesOfSplit(
    repositoryOf(name),
    text,
    files.map(({ path }) => path),
    name.parts,
  );
  const wanted = files.filter(({ path }) => paths.includes(path));
  await fetch(wanted);
  return { all: [...readme, ...wanted], paths };
}

/** Returns the files of a split that the cache has; null: the cache lacks some of them, or the name names no split. */
async function cachedSplit(name: HubName, env: NodeJS.ProcessEnv): Promise<Fetched | null> {
  if (name.parts.length === 0) return null;
  const folder = join(hubCache(env), repositoryFolder(name.kind, name.organization, name.name));
  const commit = isFolder(folder) ? commitOf(folder, revisionOf(name).revision) : null;
  if (commit === null) return null;
  const snapshot = join(folder, 'snapshots', commit);
  const there = readdirSync(snapshot, { recursive: true, encoding: 'utf8' }).filter((path) => existsSync(join(snapshot, path)));
  const readme = there.includes(README) ? (await readUserFile(join(snapshot, README), SMALL_BYTES_MAX)).toString('utf8') : '';
  try {
    const paths = filesOfSplit(repositoryOf(name), readme, there, name.parts);
    return isWhole(paths) ? { paths: paths.map((path) => join(snapshot, path)), commit } : null;
  } catch (error) {
    if (error instanceof HubError) return null;
    throw error;
  }
}

/** Whether all shards are among the paths: names such as train-00000-of-00004.parquet say how many there are. */
function isWhole(paths: readonly string[]): boolean {
  const counts = paths.map((path) => Number(/-\d{5}-of-(\d{5})\./.exec(path)?.[1] ?? paths.length));
  return counts.every((count) => count === paths.length);
}

/** Splits "revision/path". The revision of a pull request has slashes (refs/pr/1), and each other one ends at the first. */
function revisionOf({ revised, plain }: HubName): { revision: string; inside: string } {
  if (revised === undefined) return { revision: MAIN, inside: plain ?? '' };
  const [, revision = revised, inside = ''] = /^(refs\/(?:pr|convert)\/[^/]+|[^/]+)(?:\/(.*))?$/.exec(revised) ?? [];
  return { revision, inside };
}

/** The name as people write it. */
export function textOf({ organization, name, revised, plain, parts }: HubName): string {
  const inside = revised === undefined ? (plain === undefined ? '' : `/${plain}`) : `@${revised}`;
  return [`${organization}/${name}${inside}`, ...parts].join(':');
}
