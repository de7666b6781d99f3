// Reads a study from a YAML file. Its variants, grids of settings and seeds are written out into runs. Errors name their line.
import { isMap, isSeq, Pair } from 'yaml';
import { typedNumber } from '#comparison';
import {
  defaultPreset,
  EspalierError,
  settingsMessage,
  settingsTable,
  v1,
  wholeNumberOf,
  type RequestedValues,
  type Setting,
} from '#protocol';
import { dataSource } from './data-source.js';
import { placedBy, sourceOf, wordsOfRun, type RunPlace } from './study-places.js';
import { rangeOf, SOURCE_KEYS, YamlReader, type SourceChoice } from './yaml-reader.js';

/** Enough for hundreds of runs that are written out one by one. */
export const STUDY_FILE_BYTES_MAX = 256 << 10;
const MOST_RUNS = 1_000;
const MOST_AT_ONCE = 64;
/** The settings that successive halving can increase from rung to rung. */
const BUDGETS = ['total_steps', 'recover_steps'];
const USUAL_SHARE = 1 / 3;

/** The part of a study that holds for all its runs, or for one variant. A variant's values count before the study's. */
interface Part extends SourceChoice {
  settings: RequestedValues;
  grid: Map<Setting, GridValue[]>;
  seeds: string[] | null;
  /** The places of the part's values, by the file's keys. */
  pairs: Map<string, Pair>;
}
interface GridValue {
  value: unknown;
  pair: Pair;
}
interface Variant extends Part {
  name: string;
  pair: Pair | null;
}

export interface StudyFile {
  request: v1.LaunchStudyRequest;
  /** Names a run by its line and its values in a refusal of the server, which names runs by their number. */
  withPlace(error: unknown): unknown;
}

/**
 * @param field the argument, or the field of a request, that holds the file
 * @throws EspalierError that names the file, the line and what is allowed
 */
export function readStudy(path: string, text: string, field: string): StudyFile {
  return new StudyReader(path, text, field).read();
}

const PART_KEYS = [...SOURCE_KEYS, 'settings', 'grid', 'seeds'];

class StudyReader extends YamlReader {
  read(): StudyFile {
    const whole = emptyPart();
    const variants: Variant[] = [];
    const request = v1.LaunchStudyRequest.fromPartial({});
    const top = this.document.contents;
    const keys = new Set<string>();
    for (const [key, pair] of this.entries(top, 'the file')) {
      keys.add(key);
      this.keepMistake(() => {
        if (this.takesPart(whole, key, pair)) return;
        if (key === 'name') request.name = this.textOf(pair, key, 'a name');
        else if (key === 'note') request.note = this.textOf(pair, key, 'a text', true);
        else if (key === 'at_once') request.atOnce = this.atOnceOf(pair);
        else if (key === 'halving') request.halving = this.halvingOf(pair);
        else if (key === 'runs') variants.push(...this.variantsOf(pair));
        else throw this.unknown(key, pair, ['name', 'note', 'at_once', 'halving', ...PART_KEYS, 'runs']);
      });
    }
    if (!keys.has('name')) this.mistake(null, 'name: a study needs a name');
    if (!keys.has('runs'))
      variants.push({ ...emptyPart(), name: whole.settings.recipe ?? whole.settings.preset ?? defaultPreset(), pair: null });
    this.requireSources(whole, variants);
    this.refuseMistakes();
    const places: RunPlace[] = [];
    for (const variant of variants) {
      for (const { run, place } of this.runsOf(whole, variant)) {
        if (request.runs.length === MOST_RUNS) throw this.at(variant.pair, `a study has at most ${MOST_RUNS} runs`);
        request.runs.push(run);
        places.push(place);
      }
    }
    return { request, withPlace: placedBy(places, this.field, (offset) => this.lineOf(offset)) };
  }

  private takesPart(part: Part, key: string, pair: Pair): boolean {
    part.pairs.set(key === 'seeds' ? 'seed' : key, pair);
    if (this.takesSource(part, key, pair)) return true;
    if (key === 'settings') {
      part.settings = this.settingsOf(pair);
      for (const [setting, inner] of this.entries(pair.value, key)) part.pairs.set(setting, inner);
    } else if (key === 'grid') part.grid = this.gridOf(pair);
    else if (key === 'seeds') part.seeds = this.seedsOf(pair);
    else return false;
    // Each of the three keys comes once. A mistake of two of them is found at the later one.
    if (key !== 'grid' && part.seeds !== null && part.settings.seed !== undefined)
      throw this.wrong(pair, key, 'seeds and the setting seed both say the seed: give one');
    const twice = [...part.grid.keys()].find(({ name }) => part.settings[name] !== undefined);
    if (key !== 'seeds' && twice !== undefined)
      throw this.wrong(pair, key, `${twice.field} is among settings and in the grid: give it once`);
    return true;
  }

  private variantsOf({ value }: Pair): Variant[] {
    if (!isSeq(value) || value.items.length === 0)
      throw this.problem(rangeOf(value), 'runs must be a list of variants: "- name: wanda" with the settings, grid and seeds of its own');
    const variants = value.items.flatMap((item) => this.keepMistake(() => this.variantOf(item)) ?? []);
    variants.forEach(({ name, pair }, index) => {
      if (name !== '' && variants.findIndex((one) => one.name === name) < index)
        this.mistake(pair, `name: ${JSON.stringify(name)} is there twice`);
    });
    return variants;
  }

  /** The name is '' where it is missing or wrong. */
  private variantOf(item: unknown): Variant {
    const part = emptyPart();
    let name = '';
    let first: Pair | null = null;
    let isNamed = false;
    if (!isMap(item)) throw this.problem(rangeOf(item), 'an item of runs must be a mapping: "- name: wanda"');
    for (const [key, pair] of this.entries(item, 'an item of runs')) {
      first ??= pair;
      isNamed ||= key === 'name';
      this.keepMistake(() => {
        if (key === 'name') name = this.textOf(pair, key, 'a name');
        else if (!this.takesPart(part, key, pair)) throw this.unknown(key, pair, ['name', ...PART_KEYS]);
      });
    }
    if (!isNamed) this.mistake(first, 'name: every item of runs needs one, for its line in tables and plots');
    return { ...part, name, pair: first };
  }

  private gridOf({ value }: Pair): Part['grid'] {
    const table = new Map(settingsTable().map((setting) => [setting.field, setting]));
    const grid: Part['grid'] = new Map();
    for (const [key, pair] of this.entries(value, 'grid'))
      this.keepMistake(() => {
        const setting = table.get(key);
        if (setting === undefined) throw this.unknown(key, pair, [...table.keys()]);
        if (setting.field === 'seed') throw this.wrong(pair, key, 'seeds have a key of their own: "seeds: [1, 2, 3]"');
        if (!isSeq(pair.value) || pair.value.items.length === 0) throw this.wrong(pair, key, 'a list of values is needed: [0.3, 0.5]');
        const values = pair.value.items.flatMap((item): GridValue[] => {
          const one = new Pair(pair.key, item);
          const read = this.keepMistake(() => this.valueOf(setting, one));
          return read === undefined ? [] : [{ value: read, pair: one }];
        });
        if (new Set(values.map(({ value: one }) => JSON.stringify(one))).size < values.length)
          throw this.wrong(pair, key, 'a value is there twice');
        grid.set(setting, values);
      });
    return grid;
  }

  private seedsOf(pair: Pair): string[] {
    const seeds = this.itemsOf(pair, 'seeds');
    const bad = seeds.find((seed) => !/^\d+$/.test(seed) || BigInt(seed) >= 1n << 64n);
    if (seeds.length === 0 || bad !== undefined) throw this.wrong(pair, 'seeds', 'whole numbers from 0 to 2^64 - 1 are allowed: [1, 2, 3]');
    if (new Set(seeds).size < seeds.length) throw this.wrong(pair, 'seeds', 'a seed is there twice');
    return seeds;
  }

  /** Reads `halving`: one key is the setting whose values are the rungs, the other key is the share of runs that go on. */
  private halvingOf(halving: Pair): v1.StudyHalving {
    const request: v1.StudyHalving = { setting: '', rungs: [], keep: USUAL_SHARE };
    for (const [key, pair] of this.entries(halving.value, 'halving'))
      this.keepMistake(() => {
        if (key === 'keep') request.keep = this.shareOf(pair);
        else if (request.setting === '' && BUDGETS.includes(key)) {
          request.setting = key;
          request.rungs = this.rungsOf(pair, key);
        } else throw this.unknown(key, pair, ['keep', `one of ${BUDGETS.join(' and ')}`]);
      });
    if (request.setting === '') throw this.wrong(halving, 'halving', `the rungs are needed: "{${BUDGETS[0]}: [100, 300, 900]}"`);
    return request;
  }

  private rungsOf(pair: Pair, key: string): number[] {
    const rungs = this.itemsOf(pair, key).map(Number);
    if (rungs.length < 2 || !rungs.every((one, index) => Number.isSafeInteger(one) && one > (rungs[index - 1] ?? 0)))
      throw this.wrong(pair, key, 'two or more whole numbers in ascending order are needed: [100, 300, 900]');
    return rungs;
  }

  private shareOf(pair: Pair): number {
    const text = this.textOf(pair, 'keep', 'a share');
    let share = 0;
    try {
      share = typedNumber({ share: true, unit: '' }, text);
    } catch {
      // the error below says what is allowed
    }
    if (!(share > 0 && share < 1)) throw this.wrong(pair, 'keep', 'a share above 0 and below 1 is allowed: 1/3, 0.25 or 50%');
    return share;
  }

  private atOnceOf(pair: Pair): number {
    const text = this.textOf(pair, 'at_once', 'a number');
    let value = 0;
    try {
      value = wholeNumberOf(text);
    } catch {
      // the error below says what is allowed
    }
    if (value < 1 || value > MOST_AT_ONCE) throw this.wrong(pair, 'at_once', `a whole number from 1 to ${MOST_AT_ONCE} is allowed`);
    return value;
  }

  /** A variant has a model and a text of its own, or those of the study. */
  private requireSources(whole: Part, variants: readonly Variant[]): void {
    for (const [key, what] of [
      ['model', 'the folder of a model is needed'],
      ['data', 'a path of training text is needed'],
    ] as const) {
      if (whole.pairs.has(key)) continue;
      const lacking = variants.filter(({ pairs }) => !pairs.has(key));
      // If all variants lack it, this is one mistake of the study, and is named once.
      for (const { pair } of lacking.length === variants.length ? lacking.slice(0, 1) : lacking) this.mistake(pair, `${key}: ${what}`);
    }
  }

  /** Yields a run for each combination of the grid and the seeds. */
  private *runsOf(whole: Part, variant: Variant): Iterable<{ run: v1.StudyRunRequest; place: RunPlace }> {
    const source = { ...definedOf(whole), ...definedOf(variant) };
    const fixed = { ...whole.settings, ...variant.settings };
    // A variant's own settings and grid count before those of the study.
    const grid = new Map([...whole.grid].filter(([{ name }]) => variant.settings[name] === undefined));
    for (const [setting, values] of variant.grid) grid.set([...grid.keys()].find(({ name }) => name === setting.name) ?? setting, values);
    const ownSeed = variant.settings.seed === undefined ? null : [variant.settings.seed];
    const seeds = variant.seeds ?? ownSeed ?? whole.seeds ?? [fixed.seed ?? undefined];
    for (const chosen of combinations([...grid])) {
      const values = Object.fromEntries(chosen.map(([{ name }, { value }]) => [name, value]));
      const pairs = new Map([...whole.pairs, ...variant.pairs, ...chosen.map(([{ field }, { pair }]) => [field, pair] as const)]);
      for (const seed of seeds) {
        const settings = { ...fixed, ...values, ...(seed === undefined ? {} : { seed }) };
        const varied = [
          ...chosen.map(([{ field }, { pair }]) => `${field} ${sourceOf(pair)}`),
          ...(seeds.length > 1 ? [`seed ${seed}`] : []),
        ];
        yield {
          run: { variant: variant.name, modelPath: source.model!, data: dataSource(source), settings: settingsMessage(settings) },
          place: { words: wordsOfRun(variant.name, varied), pairs, variant: variant.pair },
        };
      }
    }
  }

  private mistake(pair: Pair | null, what: string): void {
    this.keepMistake(() => {
      throw this.at(pair, what);
    });
  }

  private at(pair: Pair | null, what: string): EspalierError {
    return this.problem(pair === null ? 0 : rangeOf(pair.key), what);
  }
}

const emptyPart = (): Part => ({ settings: {}, grid: new Map(), seeds: null, pairs: new Map() });

function definedOf({ settings: _, grid: _g, seeds: _s, pairs: _p, ...source }: Part): SourceChoice {
  return Object.fromEntries(Object.entries(source).filter(([key, value]) => value !== undefined && key !== 'name' && key !== 'pair'));
}

/**
 * Yields the combinations one by one: a short file can ask for more than fit in memory, and the caller stops at the first one over the
 * limit.
 */
function* combinations([first, ...others]: readonly [Setting, GridValue[]][]): Generator<[Setting, GridValue][]> {
  if (first === undefined) {
    yield [];
    return;
  }
  const [setting, values] = first;
  for (const value of values) for (const rest of combinations(others)) yield [[setting, value], ...rest];
}
