// Reads a YAML file that a person wrote, and names the place of each mistake. The values of settings are those of the table.
import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit, type Document, type Pair } from 'yaml';
import { readUserFileSync } from '#files';
import { HubNameError, hubPath, type HubKind } from '#hub';
import { EspalierError, namesTableFile, settingsTable, settingOfText, wholeNumberOf, type RequestedValues, type Setting } from '#protocol';
import type { DataChoice } from './data-source.js';
import { weightedPath, type WeightedPath } from './weighted-path.js';

const OPTION_FILE_BYTES_MAX = 64 << 10;
const LIMITS = { max_train_tokens: 'maxTrainTokens', max_validation_tokens: 'maxValidationTokens' } as const;
export const SOURCE_KEYS = [
  'model',
  'data',
  'validation',
  'text_column',
  'validation_text_column',
  'response_only',
  ...Object.keys(LIMITS),
];
export interface SourceChoice extends DataChoice {
  model?: string;
}

/** A user who mends the first mistakes gets the others next. */
const MOST_MISTAKES = 20;

/** Throws errors that name the file, the line and the key. */
export class YamlReader {
  private readonly lines = new LineCounter();
  protected readonly document: Document.Parsed;
  private readonly mistakes: EspalierError[] = [];
  private readonly offsets = new WeakMap<EspalierError, number>();

  /** @param path of the file, whose name errors say and whose folder its relative paths are of */
  constructor(
    private readonly path: string,
    text: string,
    protected readonly field: string,
  ) {
    try {
      this.document = parseDocument(text, {
        version: '1.2',
        schema: 'core',
        uniqueKeys: false, // its check compares each key with all others, which takes minutes; the visit below is linear
        lineCounter: this.lines,
        prettyErrors: false,
      });
    } catch {
      throw invalidFile(`${basename(path)} can't be read: its values lie too deep in one another`, field);
    }
    const problems = [...this.document.errors, ...this.document.warnings];
    // Any problem leads to problems in the lines after it.
    for (const { pos, message } of problems.slice(0, 1)) this.mistakes.push(this.problem(pos[0], message));
    this.refuseMistakes();
    visit(this.document, (_, node) => {
      if (this.mistakes.length >= MOST_MISTAKES) return visit.BREAK;
      if (isAlias(node) || (isNode(node) && 'anchor' in node && node.anchor !== undefined))
        this.mistakes.push(this.problem(node.range?.[0], 'anchors and aliases are not allowed: write the value itself'));
      if (isMap(node)) this.requireUniqueKeys(node);
      return undefined;
    });
    this.refuseMistakes();
  }

  private requireUniqueKeys({ items }: { items: readonly Pair[] }): void {
    const keys = new Set<unknown>();
    for (const { key } of items) {
      const value = isScalar(key) ? key.value : key;
      if (keys.has(value) && this.mistakes.length < MOST_MISTAKES)
        this.mistakes.push(this.problem(rangeOf(key), 'Map keys must be unique'));
      keys.add(value);
    }
  }

  /** Keeps the mistake that the work throws, so that the rest of the file is read too. `refuseMistakes` throws all that were kept. */
  protected keepMistake<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof EspalierError)) throw error;
      if (this.mistakes.length >= MOST_MISTAKES) this.refuseMistakes();
      this.mistakes.push(error);
      return undefined;
    }
  }

  /** @throws EspalierError with all mistakes that were kept */
  protected refuseMistakes(): void {
    const offsetOf = (mistake: EspalierError): number => this.offsets.get(mistake) ?? 0;
    const inOrder = this.mistakes.toSorted((left, right) => offsetOf(left) - offsetOf(right));
    const [first, ...others] = inOrder.slice(0, MOST_MISTAKES);
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const violations = [first, ...others].flatMap((one) => one.violations);
    throw new EspalierError(first.code, violations.map(({ description }) => description).join('; '), { violations });
  }

  /** @param or words for the error, about a value that is allowed beside numbers */
  protected numberOf(pair: Pair, key: string, least: number, most: number, or = ''): number {
    try {
      const value = wholeNumberOf(this.textOf(pair, key, 'a number'));
      if (value >= least && value <= most) return value;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw this.wrong(pair, key, `a whole number from ${least} to ${most}${or} is needed`);
  }

  /** Returns true if the key is one of SOURCE_KEYS, and puts its value in `choice`. Paths are relative to the file's folder. */
  protected takesSource(choice: SourceChoice, key: string, pair: Pair): boolean {
    if (key === 'model') choice.model = this.pathOf(this.textOf(pair, key, 'a path'), 'model', pair, key);
    else if (key === 'data') choice.data = this.oneOrMore(pair, key).map((text) => this.weightedPathOf(text, pair, key));
    else if (key === 'validation') choice.validation = this.oneOrMore(pair, key).map((path) => this.pathOf(path, 'dataset', pair, key));
    else if (key === 'text_column') choice.textColumn = this.textOf(pair, key, 'a name');
    else if (key === 'validation_text_column') choice.validationTextColumn = this.textOf(pair, key, 'a name', true);
    else if (key === 'response_only') choice.responseOnly = this.flagOf(pair, key);
    else if (key in LIMITS) choice[LIMITS[key as keyof typeof LIMITS]] = this.limitOf(pair, key);
    else return false;
    return true;
  }

  private weightedPathOf(text: string, pair: Pair, key: string): WeightedPath {
    try {
      const { path, ...weight } = weightedPath(text, (one) => existsSync(resolve(dirname(this.path), one)));
      return { path: this.pathOf(path, 'dataset', pair, key), ...weight };
    } catch (error) {
      if (error instanceof RangeError) throw this.wrong(pair, key, error.message);
      throw error;
    }
  }

  /** Returns an absolute path. A path is relative to the file's folder, and a name of the hub is looked up in the hub's cache. */
  private pathOf(text: string, kind: HubKind, pair: Pair, key: string): string {
    const path = resolve(dirname(this.path), text);
    try {
      return hubPath(text, kind, path) ?? path;
    } catch (error) {
      if (error instanceof HubNameError) throw this.wrong(pair, key, error.message);
      throw error;
    }
  }

  protected settingsOf({ value }: Pair): RequestedValues {
    const table = new Map(settingsTable().map((setting) => [setting.field, setting]));
    const values: [string, unknown][] = [];
    for (const [key, pair] of this.entries(value, 'settings'))
      this.keepMistake(() => {
        const setting = table.get(key);
        if (setting === undefined) throw this.unknown(key, pair, [...table.keys()]);
        values.push([setting.name, this.valueOf(setting, pair)]);
      });
    return Object.fromEntries(values);
  }

  protected valueOf(setting: Setting, pair: Pair): unknown {
    const { field, kind } = setting;
    if (kind === 'words' && isSeq(pair.value)) return this.itemsOf(pair, field);
    if (kind === 'flag') return this.flagOf(pair, field);
    if (isSeq(pair.value)) throw this.wrong(pair, field, `one value is needed, not a list. ${severalOf(field)}`);
    const text = this.textOf(pair, field, 'a value');
    try {
      const value = settingOfText(setting, text);
      return setting.name === 'speedTable' && namesTableFile(text) ? resolve(dirname(this.path), text) : value;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const several = text.includes(',') ? ` ${severalOf(field)}` : '';
      throw this.wrong(pair, field, `${JSON.stringify(text)} is not valid. ${error.message}${several}`);
    }
  }

  private flagOf(pair: Pair, key: string): boolean {
    const text = this.textOf(pair, key, 'a value');
    if (text !== 'true' && text !== 'false') throw this.wrong(pair, key, 'true and false are allowed');
    return text === 'true';
  }

  protected *entries(node: unknown, what: string): Iterable<[key: string, pair: Pair]> {
    if (node === null) return; // an empty file
    if (!isMap(node)) throw this.problem(rangeOf(node), `${what} must be a mapping: lines of "key: value"`);
    for (const pair of node.items) {
      if (!isScalar(pair.key)) throw this.problem(rangeOf(pair.key), `a key of ${what} is not a word`);
      yield [String(pair.key.value), pair];
    }
  }

  /** The pairs of a mapping by their keys. */
  protected pairsOf(node: unknown, what: string, allowed: readonly string[]): ReadonlyMap<string, Pair> {
    const pairs = new Map(this.entries(node, what));
    for (const [key, pair] of pairs) if (!allowed.includes(key)) throw this.unknown(key, pair, allowed);
    return pairs;
  }

  /** As it is written: a large number and 2/3 stay whole. */
  protected textOf(pair: Pair, key: string, what: string, mayBeEmpty = false): string {
    const { value } = pair;
    if (!isScalar(value) || value.value === null) throw this.wrong(pair, key, `${what} is needed`);
    const text = value.source ?? '';
    if (text === '' && !mayBeEmpty) throw this.wrong(pair, key, `${what} is needed`);
    return text;
  }

  private oneOrMore(pair: Pair, key: string): string[] {
    for (const item of isSeq(pair.value) ? pair.value.items : [pair.value]) {
      const [first] = isMap(item) ? item.items : [];
      if (first !== undefined) throw this.problem(rangeOf(first.key), `${key}: ${inPlaceOfMapping(first, key)}`);
    }
    if (!isSeq(pair.value)) return [this.textOf(pair, key, 'a path')];
    const items = this.itemsOf(pair, key);
    if (items.length === 0 || items.includes('')) throw this.wrong(pair, key, 'a path, or a list of paths, is needed');
    return items;
  }

  protected limitOf(pair: Pair, key: string): number {
    const text = this.textOf(pair, key, 'a number');
    try {
      const value = wholeNumberOf(text);
      if (value >= 1) return value;
    } catch {
      // said below
    }
    throw this.wrong(pair, key, 'a whole number of 1 or more is needed');
  }

  protected itemsOf(pair: Pair, key: string): string[] {
    if (!isSeq(pair.value)) throw this.wrong(pair, key, 'a list is needed: [one, two]');
    return pair.value.items.map((item) => {
      if (!isScalar(item) || item.value === null) throw this.wrong(pair, key, 'its items must be words');
      return item.source ?? '';
    });
  }

  protected unknown(key: string, pair: Pair, allowed: readonly string[]): EspalierError {
    if (pair.value === null)
      return this.problem(rangeOf(pair.key), `${JSON.stringify(key)} stands after a comma where "key: value" is needed. ${SEVERAL}`);
    return this.problem(rangeOf(pair.key), `there is no ${JSON.stringify(key)}; allowed are ${allowed.join(', ')}`);
  }

  protected wrong(pair: Pair, key: string, what: string): EspalierError {
    return this.problem(rangeOf(pair.value) ?? rangeOf(pair.key), `${key}: ${what}`);
  }

  protected problem(offset: number | undefined, what: string): EspalierError {
    const mistake = invalidFile(`${this.lineOf(offset)}: ${what.split('\n')[0]}`, this.field);
    if (offset !== undefined) this.offsets.set(mistake, offset);
    return mistake;
  }

  /** "run.yaml:3" */
  protected lineOf(offset: number | undefined): string {
    return `${basename(this.path)}${offset === undefined ? '' : `:${this.lines.linePos(offset).line}`}`;
  }
}

const SEVERAL = 'Several values of a setting are a list in the grid of a study: [0.3, 0.5]';
const severalOf = (field: string): string => (field === 'seed' ? 'Several seeds are the list "seeds" of a study: [1, 2]' : SEVERAL);

/** The form that is allowed, where a path is the key of a mapping, as in "- a.jsonl: 0.7". */
function inPlaceOfMapping({ key: path, value }: Pair, key: string): string {
  const isWeight = key === 'data' && isScalar(value) && typeof value.value === 'number';
  return isWeight
    ? `a weight stands after "=" and without a space: ${String(path)}=${value.source}, not ${String(path)}: ${value.source}`
    : `a path, or a list of paths, is needed; ${String(path)} has a value of its own`;
}

/** The offset at which a node of the file begins. */
export function rangeOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

/** The text of a file that an option of the server names. @param what the file is, for errors @throws EspalierError CONFIG_INVALID */
export function textOfOptionFile(path: string, what: string, field: string): string {
  try {
    return readUserFileSync(path, OPTION_FILE_BYTES_MAX).toString('utf8');
  } catch (error) {
    throw invalidFile(`${what} can't be read: ${(error as Error).message}`, field);
  }
}

/** @param field the option, argument or field of a request that the file is in */
export function invalidFile(message: string, field: string): EspalierError {
  return new EspalierError('CONFIG_INVALID', message, { violations: [{ field, description: message, code: 'CONFIG_INVALID' }] });
}
