// Compares runs in numbers. Runs that differ only by their seed can be joined to a group, and the first group is the baseline.
import { interpolated } from '../../ui/charts/curve.js';

export interface Member {
  runId: string;
  name: string;
  settings: Readonly<Record<string, string>>;
  figures: Readonly<Record<string, number | undefined>>;
}
export interface Group {
  name: string;
  members: Member[];
}
export interface Summary {
  mean: number;
  /** The sample standard deviation; undefined for a single value. */
  spread: number | undefined;
  n: number;
}

const SEED = 'seed';

/** Groups the runs: each run alone, or together with the runs that have the same settings except the seed. */
export function groupsOf(members: readonly Member[], overSeeds: boolean): Group[] {
  const groups = new Map<string, Member[]>();
  for (const member of members) {
    const key = overSeeds ? settingsKey(member) : member.runId;
    groups.set(key, [...(groups.get(key) ?? []), member]);
  }
  const all = [...groups.values()];
  const names = all.map(groupName);
  return all.map((own, index) => {
    const name = names[index]!;
    const isTwice = names.filter((one) => one === name).length > 1;
    return { name: isTwice ? `${name} ${own[0]!.runId.slice(0, 4)}` : name, members: own };
  });
}

function settingsKey({ settings }: Member): string {
  return JSON.stringify(Object.entries(settings).filter(([name, value]) => name !== SEED && value !== ''));
}

/** The name of a group: the beginning that the names of its runs share, and their number. */
function groupName(members: readonly Member[]): string {
  const [first, ...rest] = members.map(({ name }) => name);
  if (rest.length === 0) return first!;
  let common = first!;
  for (const name of rest) while (!name.startsWith(common)) common = common.slice(0, -1);
  const trimmed = common.replace(/[\s\-_.=/:]+$/, '');
  return `${trimmed === '' ? first! : trimmed} (${members.length} seeds)`;
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

export type Better = 'low' | 'high' | 'neither';
export interface Difference {
  value: number;
  /** chance: seeds alone may cause this difference. */
  verdict: 'better' | 'worse' | 'chance' | 'other';
}

/** Compares a value with the baseline's; null if one of the two is unknown, or both are equal. */
export function differenceOf(own: Summary | undefined, baseline: Summary | undefined, better: Better): Difference | null {
  if (own === undefined || baseline === undefined) return null;
  const value = own.mean - baseline.mean;
  if (value === 0) return null;
  if (better === 'neither') return { value, verdict: 'other' };
  if (mayBeChance(value, own, baseline)) return { value, verdict: 'chance' };
  return { value, verdict: value < 0 === (better === 'low') ? 'better' : 'worse' };
}

const STANDARD_ERRORS = 2;

/** Tells whether the means of two groups differ by less than two standard errors of their difference. */
function mayBeChance(value: number, own: Summary, baseline: Summary): boolean {
  if (own.spread === undefined || baseline.spread === undefined) return false;
  return Math.abs(value) < STANDARD_ERRORS * Math.sqrt(own.spread ** 2 / own.n + baseline.spread ** 2 / baseline.n);
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
