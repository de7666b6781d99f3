// Finds the files of a split of a data set: by the configurations at the head of its README.md, else by the names of its files.
import { parseDocument } from 'yaml';
import { HubError } from './hub-error.js';

const DATA_FILE = /\.(jsonl?|csv|tsv|txt|parquet)(\.gz|\.zst)?$/i;
const HEAD_BYTES_MAX = 1 << 20;
const SPLIT_WORDS: Record<string, string[]> = {
  train: ['train', 'training'],
  validation: ['validation', 'valid', 'dev', 'val'],
  test: ['test', 'testing', 'eval', 'evaluation'],
};
const DEFAULT = 'default';

/** The files of each split of each configuration. */
type Splits = Map<string, Map<string, string[]>>;

/**
 * Returns the files of the configuration and split that a name's parts name. One part is the split of the only configuration (or of the
 * one that the data set marks as its default), or the configuration whose only split is meant.
 * @param paths of all files of the commit
 * @throws HubError that lists what there is
 */
export function filesOfSplit(repository: string, readme: string, paths: readonly string[], parts: readonly string[]): string[] {
  const { splits, usual } = splitsOf(readme, paths.filter((path) => DATA_FILE.test(path)).toSorted());
  const found = chosen(splits, usual, parts);
  if (found !== undefined && found.length > 0) return found;
  const all = [...splits].flatMap(([config, ones]) =>
    [...ones].map(([split]) => `${repository}:${config === DEFAULT && splits.size === 1 ? '' : `${config}:`}${split}`),
  );
  const asked = parts.length === 0 ? 'a split is to be named' : `there is no ${parts.join(':')}`;
  const shown = all.slice(0, 30).join(', ');
  const rest = all.length > 30 ? ` and ${all.length - 30} more` : '';
  const has = all.length === 0 ? 'it has no file of a known form whose name says the split' : `it has ${shown}${rest}`;
  throw new HubError('HUB_NOT_FOUND', `${repository}: ${asked}; ${has}`);
}

function chosen(splits: Splits, usual: string | undefined, [first, second]: readonly string[]): string[] | undefined {
  if (first === undefined) return undefined;
  if (second !== undefined) return splits.get(first)?.get(second);
  const config = splits.get(first);
  if (config !== undefined) return config.size === 1 ? [...config.values()][0] : undefined;
  return splits.get(usual ?? (splits.size === 1 ? [...splits.keys()][0]! : DEFAULT))?.get(first);
}

function splitsOf(readme: string, paths: readonly string[]): { splits: Splits; usual: string | undefined } {
  const configs = configsOf(readme);
  const splits: Splits = new Map();
  let usual: string | undefined;
  for (const { config_name: name, data_files: files, data_dir: folder, default: isUsual } of configs) {
    if (typeof name !== 'string') continue;
    if (isUsual === true) usual = name;
    const below = typeof folder === 'string' ? paths.filter((path) => path.startsWith(`${folder.replace(/\/$/, '')}/`)) : paths;
    splits.set(name, files === undefined ? byWords(below) : declared(files, below));
  }
  if (splits.size > 0) return { splits, usual };
  splits.set(DEFAULT, byWords(paths));
  return { splits, usual };
}

interface Config {
  config_name?: unknown;
  data_files?: unknown;
  data_dir?: unknown;
  default?: unknown;
}

function configsOf(readme: string): Config[] {
  const head = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readme.slice(0, HEAD_BYTES_MAX))?.[1];
  if (head === undefined) return [];
  try {
    // Its check of unique keys compares each key with all others, which takes a minute for a head of this size.
    const { configs } = parseDocument(head, { uniqueKeys: false }).toJS({ maxAliasCount: 0 }) as { configs?: unknown };
    return Array.isArray(configs) ? configs.filter((one): one is Config => typeof one === 'object' && one !== null) : [];
  } catch {
    return []; // a head that can't be read says nothing
  }
}

/** The files of `data_files`: a pattern, a list of patterns (all of them train), or a list of splits with their patterns. */
function declared(files: unknown, paths: readonly string[]): Map<string, string[]> {
  const list = Array.isArray(files) ? (files as unknown[]) : [files];
  const splits = new Map<string, string[]>();
  for (const one of list) {
    const { split, path } = (typeof one === 'string' ? { split: 'train', path: one } : (one ?? {})) as { split?: unknown; path?: unknown };
    if (typeof split !== 'string') continue;
    const patterns = (Array.isArray(path) ? path : [path]).filter((pattern) => typeof pattern === 'string');
    const found = paths.filter((candidate) => patterns.some((pattern) => matches(candidate, pattern)));
    splits.set(split, [...(splits.get(split) ?? []), ...found]);
  }
  return splits;
}

/**
 * Matches a pattern with `*`, `**` and `?`, piece by piece: a pattern comes from a stranger, and as a regular expression it could take
 * hours.
 */
function matches(path: string, pattern: string): boolean {
  const crossing = '\u0001';
  const wanted = pattern
    .replace(/^\.?\//, '')
    .replaceAll('**/', crossing)
    .replaceAll('**', crossing);
  // Row by row: which beginnings of the path does the pattern match so far?
  let reached = new Array<boolean>(path.length + 1).fill(false);
  reached[0] = true;
  for (const char of wanted) {
    const next = new Array<boolean>(path.length + 1).fill(false);
    let open = false;
    for (let at = 0; at <= path.length; at++) {
      if (char === '*' || char === crossing) {
        if (at > 0 && path[at - 1] === '/' && char === '*') open = false;
        open ||= reached[at]!;
        next[at] = open;
      } else if (at > 0 && reached[at - 1]) next[at] = char === path[at - 1] || (char === '?' && path[at - 1] !== '/');
    }
    reached = next;
  }
  return reached[path.length]!;
}

/** Files whose path has a word of the split, apart from other words: data/train-00000-of-00002.parquet, dev/a.jsonl. */
function byWords(paths: readonly string[]): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  for (const path of paths) {
    const words = path.toLowerCase().split(/[^a-z]+/);
    const [split] = Object.entries(SPLIT_WORDS).find(([, own]) => own.some((word) => words.includes(word))) ?? [];
    if (split !== undefined) splits.set(split, [...(splits.get(split) ?? []), path]);
  }
  return splits;
}
