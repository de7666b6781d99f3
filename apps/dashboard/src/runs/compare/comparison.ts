// Compares runs in numbers. Runs that differ only by their seed can be joined to a group, and the first group is the baseline.
import { interpolated } from '../../ui/charts/curve.js';

export interface Member {
  runId: string;
  name: string;
  settings: Readonly<Record<string, string>>;
  figures: Readonly<Record<string, number | undefined>>;
  /** How its perplexity was measured: values by other measures can't be compared. */
  measure: string;
  /** A fork shares its first steps with its parent, so it is not an independent sample beside other runs. */
  isFork: boolean;
}
export interface Group {
  name: string;
  members: [Member, ...Member[]];
}
export interface Summary {
  mean: number;
  /** The sample standard deviation; undefined for a single value. */
  spread: number | undefined;
  n: number;
}

const SEED = 'seed';

/**
 * Groups the runs: each run alone, or together with the runs that have the same settings and another seed. A fork, and a second run with a
 * seed, stand alone: neither is an independent sample.
 */
export function groupsOf(members: readonly Member[], overSeeds: boolean): Group[] {
  const groups = new Map<string, Group['members']>();
  for (const member of members) {
    const key = settingsKey(member);
    const own = groups.get(key);
    const isAlone = !overSeeds || member.isFork || own?.some(({ settings }) => settings[SEED] === member.settings[SEED]);
    if (isAlone === true) groups.set(member.runId, [member]);
    else groups.set(key, own === undefined ? [member] : [...own, member]);
  }
  const all = [...groups.values()];
  const names = all.map(groupName);
  return all.map((members) => {
    const name = groupName(members);
    const isTwice = names.filter((one) => one === name).length > 1;
    return { name: isTwice ? `${name} ${members[0].runId.slice(0, 4)}` : name, members };
  });
}

function settingsKey({ settings }: Member): string {
  return JSON.stringify(Object.entries(settings).filter(([name, value]) => name !== SEED && value !== ''));
}

/** The name of a group: the beginning that the names of its runs share, and their number. */
function groupName([{ name: first }, ...rest]: Group['members']): string {
  if (rest.length === 0) return first;
  let common = first;
  for (const { name } of rest) while (!name.startsWith(common)) common = common.slice(0, -1);
  const trimmed = common.replace(/[\s\-_.=/:]+$/, '');
  return `${trimmed === '' ? first : trimmed} (${1 + rest.length} seeds)`;
}

export function summaryOf({ members }: Group, figure: string): Summary | undefined {
  const values = members.flatMap(({ figures }) => {
    const value = figures[figure];
    return value === undefined || !Number.isFinite(value) ? [] : [value];
  });
  const n = values.length;
  if (n === 0) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, spread: n < 2 ? undefined : Math.sqrt(squares / (n - 1)), n };
}

/** The figure by which runs can be called better or worse, and the size that such a verdict needs. */
export const QUALITY = 'perplexity';
export const SIZE = 'parameters left';

export interface Difference {
  value: number;
  verdict: 'better' | 'worse' | 'none';
  /** Why there is no verdict, or what else a verdict says; '' where that needs no words. */
  why: string;
}

/** Compares a group's mean with the baseline's; null if one of the two is unknown, or both are equal. */
export function differenceOf(own: Group, baseline: Group, figure: string): Difference | null {
  const [left, right] = [summaryOf(own, figure), summaryOf(baseline, figure)];
  if (left === undefined || right === undefined) return null;
  const value = left.mean - right.mean;
  if (value === 0) return null;
  return { value, ...(figure === QUALITY ? verdictOf(value, { own, baseline, left, right }) : { verdict: 'none', why: '' }) };
}

interface Pair {
  own: Group;
  baseline: Group;
  left: Summary;
  right: Summary;
}

/** A verdict needs one measure, more than one seed on both sides, a difference beyond chance, and one size or an advantage in both. */
function verdictOf(value: number, { own, baseline, left, right }: Pair): Pick<Difference, 'verdict' | 'why'> {
  const measured = [...own.members, ...baseline.members].filter(({ figures }) => figures[QUALITY] !== undefined);
  const measures = new Set(measured.map(({ measure }) => measure));
  if (measures.size > 1) return { verdict: 'none', why: 'another measure' };
  if (left.spread === undefined || right.spread === undefined) return { verdict: 'none', why: 'one seed' };
  if (mayBeChance(value, left, right)) return { verdict: 'none', why: 'may be chance' };
  const verdict = value < 0 ? 'better' : 'worse';
  const [size, other] = [summaryOf(own, SIZE)?.mean, summaryOf(baseline, SIZE)?.mean];
  if (size === undefined || other === undefined) return { verdict: 'none', why: 'size not known' };
  if (Math.abs(size - other) <= SAME_SIZE * other) return { verdict, why: '' };
  const sizeWord = size < other ? 'smaller' : 'larger';
  return (sizeWord === 'smaller') === (verdict === 'better')
    ? { verdict, why: `and ${sizeWord}` }
    : { verdict: 'none', why: `${verdict}, but ${sizeWord}` };
}

/** Sizes that differ by a smaller share count as equal. */
const SAME_SIZE = 0.01;
const STANDARD_ERRORS = 2;

/** Tells whether the means of two groups differ by less than two standard errors of their difference. */
function mayBeChance(value: number, own: Summary, baseline: Summary): boolean {
  return Math.abs(value) < STANDARD_ERRORS * Math.sqrt((own.spread ?? NaN) ** 2 / own.n + (baseline.spread ?? NaN) ** 2 / baseline.n);
}

/** Sorts the groups by a figure. The baseline stays first, and groups without the figure come last. */
export function sorted(groups: readonly Group[], figure: string, descends: boolean): Group[] {
  const [baseline, ...others] = groups;
  if (baseline === undefined || figure === '') return [...groups];
  const valueOf = (group: Group): number => summaryOf(group, figure)?.mean ?? (descends ? -Infinity : Infinity);
  others.sort((one, other) => (descends ? valueOf(other) - valueOf(one) : valueOf(one) - valueOf(other)) || 0);
  return [baseline, ...others];
}

export function differingSettings(groups: readonly Group[]): [name: string, values: string[]][] {
  const names = [...new Set(groups.flatMap(({ members }) => members.flatMap(({ settings }) => Object.keys(settings))))];
  return names.flatMap((name): [string, string[]][] => {
    const values = groups.map(({ members }) => [...new Set(members.map(({ settings }) => settings[name] ?? ''))].join(', '));
    return new Set(values).size > 1 ? [[name, values]] : [];
  });
}

export interface Line {
  places: number[];
  values: (number | null)[];
}
export interface MeanLine {
  values: (number | null)[];
  lowest: (number | null)[];
  highest: (number | null)[];
}

/**
 * Returns the mean of the lines at each place, with the lowest and the highest value. Places where a line has no value are left out.
 */
export function meanLine(lines: readonly Line[], x: number[]): MeanLine {
  const all = lines.map(({ places, values }) => interpolated(places, values, x));
  const at = (index: number): number[] | null => {
    const values = all.map((one) => one[index] ?? null);
    return values.length === 0 || values.includes(null) ? null : (values as number[]);
  };
  const points = x.map((_, index) => at(index));
  return {
    values: points.map((values) => values && values.reduce((sum, value) => sum + value, 0) / values.length),
    lowest: points.map((values) => values && Math.min(...values)),
    highest: points.map((values) => values && Math.max(...values)),
  };
}

/**
 * Puts the points of all lines one after another, for an axis on which places need not rise. Each point belongs to one line.
 * @returns all places, and each line's values there
 */
export function oneAfterAnother(lines: readonly Line[]): { x: number[]; values: (number | null)[][] } {
  const x = lines.flatMap(({ places }) => places);
  const valuesOf = (own: Line): (number | null)[] =>
    lines.flatMap((line) => line.places.map((_, index) => (line === own ? (line.values[index] ?? null) : null)));
  return { x, values: lines.map(valuesOf) };
}
