// The input of a launch, a plan or a fork as a YAML file: read with the place of whatever is wrong, and written so that it makes
// the same run again. Its settings are those of the table.
import { basename, dirname, resolve } from 'node:path';
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, stringify, visit, type Document, type Pair } from 'yaml';
import { readUserFile, UserFileError } from '#files';
import { requestedValues, settingsTable, valueOfText, visibleText, type RequestedValues, type Setting, type v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { DataChoice } from './data-options.js';
import { positiveNumber } from './parse.js';

/** A run's settings are two kilobytes. */
const FILE_BYTES_MAX = 64 << 10;

/** Beside `settings`. Paths are of the file's folder. */
export interface RunFile extends DataChoice {
  model?: string;
  name?: string;
  tags?: string[];
  note?: string;
  settings: RequestedValues;
}
const TEXTS = ['name', 'note'] as const;
const PATH_LISTS = ['data', 'validation'] as const;
const LIMITS = { max_train_tokens: 'maxTrainTokens', max_validation_tokens: 'maxValidationTokens' } as const;

/** @throws CliError that names the file, the line and the key */
export async function readRunFile(path: string): Promise<RunFile> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readUserFile(path, FILE_BYTES_MAX));
  } catch (error) {
    if (error instanceof TypeError) throw invalid(`${basename(path)} is no UTF-8 text`);
    if (!(error instanceof UserFileError)) throw error;
    throw new CliError(error.code, error.message, {
      field: '--config',
      exitCode: error.code === 'FILE_NOT_FOUND' ? ExitCode.notFound : ExitCode.usage,
    });
  }
  return new Reader(path, text).read();
}

/** That of --config, where it is given. */
export async function runFileFor({ config }: { config?: string }): Promise<RunFile> {
  return config === undefined ? { settings: {} } : readRunFile(config);
}

/** @throws CliError OPTION_REQUIRED */
export function needed<T>(option: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new CliError('OPTION_REQUIRED', `${option} is needed, or a file that says it: --config FILE`, {
    field: option,
    exitCode: ExitCode.usage,
  });
}

class Reader {
  private readonly lines = new LineCounter();
  private readonly document: Document.Parsed;

  constructor(
    private readonly path: string,
    text: string,
  ) {
    try {
      this.document = parseDocument(text, {
        version: '1.2',
        schema: 'core',
        uniqueKeys: true,
        lineCounter: this.lines,
        prettyErrors: false,
      });
    } catch {
      throw invalid(`${basename(path)} can't be read: its values lie too deep in one another`);
    }
    const [problem] = [...this.document.errors, ...this.document.warnings];
    if (problem !== undefined) throw this.problem(problem.pos[0], problem.message);
    visit(this.document, (_, node) => {
      if (isAlias(node) || (isNode(node) && 'anchor' in node && node.anchor !== undefined))
        throw this.problem(node.range?.[0], 'anchors and aliases are not allowed: write the value itself');
    });
  }

  read(): RunFile {
    const file: RunFile = { settings: {} };
    const allowed = ['model', ...PATH_LISTS, 'text_column', ...Object.keys(LIMITS), ...TEXTS, 'tags', 'settings'];
    const fromHere = (path: string): string => resolve(dirname(this.path), path);
    for (const [key, pair] of this.entries(this.document.contents, 'the file')) {
      if (!allowed.includes(key)) throw this.unknown(key, pair, allowed);
      const isPathList = PATH_LISTS.find((name) => name === key);
      const isText = TEXTS.find((name) => name === key);
      if (key === 'model') file.model = fromHere(this.textOf(pair, key, 'a path'));
      else if (isPathList !== undefined) file[isPathList] = this.oneOrMore(pair, key).map(fromHere);
      else if (key === 'text_column') file.textColumn = this.textOf(pair, key, 'a name');
      else if (key in LIMITS) file[LIMITS[key as keyof typeof LIMITS]] = this.limitOf(pair, key);
      else if (isText !== undefined) file[isText] = this.textOf(pair, key, 'a text', true);
      else if (key === 'tags') file.tags = this.itemsOf(pair, key);
      else file.settings = this.settingsOf(pair);
    }
    return file;
  }

  private settingsOf({ value }: Pair): RequestedValues {
    const table = new Map(settingsTable().map((setting) => [setting.field, setting]));
    const values: [string, unknown][] = [];
    for (const [key, pair] of this.entries(value, 'settings')) {
      const setting = table.get(key);
      if (setting === undefined) throw this.unknown(key, pair, [...table.keys()]);
      values.push([setting.name, this.valueOf(setting, pair)]);
    }
    return Object.fromEntries(values);
  }

  private valueOf(setting: Setting, pair: Pair): unknown {
    const { field, kind } = setting;
    if (kind === 'words' && isSeq(pair.value)) return this.itemsOf(pair, field);
    const text = this.textOf(pair, field, 'a value');
    if (kind === 'flag' && !['true', 'false'].includes(text)) throw this.wrong(pair, field, 'true and false are allowed');
    try {
      return valueOfText(setting, text);
    } catch (error) {
      if (error instanceof RangeError) throw this.wrong(pair, field, error.message);
      throw error;
    }
  }

  private *entries(node: unknown, what: string): Iterable<[key: string, pair: Pair]> {
    if (node === null) return; // an empty file
    if (!isMap(node)) throw this.problem(rangeOf(node), `${what} must be a mapping: lines of "key: value"`);
    for (const pair of node.items) {
      if (!isScalar(pair.key)) throw this.problem(rangeOf(pair.key), `a key of ${what} is no word`);
      yield [String(pair.key.value), pair];
    }
  }

  /** As it is written: a large number and 2/3 stay whole. */
  private textOf(pair: Pair, key: string, what: string, mayBeEmpty = false): string {
    const { value } = pair;
    if (!isScalar(value) || value.value === null) throw this.wrong(pair, key, `${what} is needed`);
    const text = value.source ?? '';
    if (text === '' && !mayBeEmpty) throw this.wrong(pair, key, `${what} is needed`);
    return text;
  }

  private oneOrMore(pair: Pair, key: string): string[] {
    if (!isSeq(pair.value)) return [this.textOf(pair, key, 'a path')];
    const items = this.itemsOf(pair, key);
    if (items.length === 0 || items.includes('')) throw this.wrong(pair, key, 'a path, or a list of paths, is needed');
    return items;
  }

  private limitOf(pair: Pair, key: string): number {
    const text = this.textOf(pair, key, 'a number');
    try {
      return positiveNumber(text);
    } catch {
      throw this.wrong(pair, key, 'a whole number of 1 or more is needed');
    }
  }

  private itemsOf(pair: Pair, key: string): string[] {
    if (!isSeq(pair.value)) throw this.wrong(pair, key, 'a list is needed: [one, two]');
    return pair.value.items.map((item) => {
      if (!isScalar(item) || item.value === null) throw this.wrong(pair, key, 'its items must be words');
      return item.source ?? '';
    });
  }

  private unknown(key: string, pair: Pair, allowed: readonly string[]): CliError {
    return this.problem(rangeOf(pair.key), `there is no ${JSON.stringify(key)}; allowed are ${allowed.join(', ')}`);
  }

  private wrong(pair: Pair, key: string, what: string): CliError {
    return this.problem(rangeOf(pair.value) ?? rangeOf(pair.key), `${key}: ${what}`);
  }

  private problem(offset: number | undefined, what: string): CliError {
    const line = offset === undefined ? '' : `:${this.lines.linePos(offset).line}`;
    return invalid(`${basename(this.path)}${line}: ${what.split('\n')[0]}`);
  }
}

function rangeOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function invalid(message: string): CliError {
  return new CliError('CONFIG_INVALID', message, { field: '--config', exitCode: ExitCode.usage });
}

function oneOrList(paths: string[]): string | string[] | undefined {
  return paths.length > 1 ? paths : paths[0] || undefined;
}

/** A file that launches the same run again; every setting is in it. */
export function runFileOf(run: v1.Run): string {
  const values = requestedValues(run.settings);
  const settings = settingsTable().map(({ name, field, kind }) => [field, values[name] ?? (kind === 'flag' ? false : undefined)] as const);
  const file = {
    model: run.modelPath,
    data: oneOrList([run.data?.trainPath ?? '', ...(run.data?.moreTrainPaths ?? [])]),
    validation: oneOrList([run.data?.validationPath ?? '', ...(run.data?.moreValidationPaths ?? [])]),
    text_column: run.data?.textColumn || undefined,
    max_train_tokens: Number(run.data?.maxTrainTokens ?? 0n) || undefined,
    max_validation_tokens: Number(run.data?.maxValidationTokens ?? 0n) || undefined,
    name: run.name || undefined,
    tags: run.tags.length === 0 ? undefined : run.tags,
    note: run.note || undefined,
    settings: Object.fromEntries(settings.filter(([, value]) => value !== undefined)),
  };
  const fork =
    run.parentRunId === ''
      ? ''
      : `# A fork of ${run.parentRunId} at step ${run.forkedAtStep}; launched, it begins with the model instead.\n`;
  const head = `# Run ${run.runId}${run.stateDigest === '' ? '' : `, state ${run.stateDigest} at step ${run.step}`}\n`;
  return `${visibleText(head.trimEnd())}\n${fork}${stringify(file, { lineWidth: 0 })}`;
}
