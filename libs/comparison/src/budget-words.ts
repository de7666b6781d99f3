// Describes a run's budget in words: the amounts asked for, predicted and measured.
import { byteWords } from './byte-words.js';
import { BUDGET_NAMES, BUDGETS, type Targets } from './target-settings.js';
import { BINARY_UNITS, DECIMAL_BYTES, DECIMAL_PREFIXES } from './units.js';

export interface BudgetFigures {
  unit: string;
  asked: number;
  intactSize: number;
  least: number;
  predicted?: number | undefined;
  measured?: number | undefined;
  prunableSparsity?: number | undefined;
}

const amount = (value: number, unit: string): string =>
  unit === SECONDS
    ? `${Number((value * 1e3).toPrecision(4))}`
    : Math.round(value)
        .toString()
        .replace(/\B(?=(\d{3})+(?!\d))/g, ',');
/** The unit of a target in seconds. Such a target is shown in milliseconds. */
const SECONDS = 'seconds';
const BYTES = 'bytes';
const named = (unit: string): string => (unit === SECONDS ? 'ms' : unit);
const times = (intact: number, value: number): string => `${(intact / value).toFixed(2)}x`;
const share = (value: number, digits = 1): string => `${(value * 100).toFixed(digits)}%`;

/** Returns a text like "asked 2,100,000 of 2,985,000 parameters (70.4%); predicted 2,099,990; measured 2,099,990". */
export function budgetWords({ unit, asked, intactSize, predicted, measured }: BudgetFigures): string {
  const [isTime, show] = [unit === SECONDS, (value: number) => amount(value, unit)];
  const gain = (value: number): string => (isTime ? ` (${times(intactSize, value)})` : '');
  const part = isTime
    ? times(intactSize, asked)
    : `${unit === BYTES ? `${amountAsTyped(asked, BYTES)}, ` : ''}${share(asked / intactSize)}`;
  const parts = [`asked ${show(asked)} of ${show(intactSize)} ${named(unit)} (${part})`];
  if (predicted !== undefined) parts.push(`predicted ${show(predicted)}${gain(predicted)}`);
  if (measured !== undefined) parts.push(`measured ${show(measured)}${gain(measured)}`);
  return parts.join('; ');
}

/** Describes the sparsity that a budget leads to, for a plan. */
export function budgetPlanWords(budget: BudgetFigures): string {
  const { unit, asked, intactSize, least, prunableSparsity } = budget;
  const means = prunableSparsity === undefined ? '' : `, by about ${share(prunableSparsity)} of the prunable parameters`;
  const show = (value: number): string => amount(value, unit);
  const inBytes = unit === BYTES ? ` (${byteWords(least)} of ${byteWords(intactSize)})` : '';
  const most = unit === SECONDS ? ` (${times(intactSize, least)} at most)` : inBytes;
  const goes = `${share(1 - asked / intactSize)} of them go${means}`;
  return `${show(asked)} of ${show(intactSize)} ${named(unit)}: ${goes}; at least ${show(least)} stay${most}`;
}

/** Returns a run's target: "50%", or its budget, as in "1.5M parameters". */
export function targetWords(targets: Targets, digits = 0): string {
  const name = BUDGET_NAMES.find((one) => (targets[one] ?? 0) > 0);
  const asked = name === undefined ? targets.targetSparsity : targets[name];
  if (asked === undefined) return '-';
  if (name === undefined) return share(asked, digits);
  const { unit, given } = BUDGETS[name];
  if (given === 'factor') return `${Number(asked.toPrecision(3))}x as fast`;
  if (given === 'share') return `${share(asked, digits)} of the ${unit}`;
  return unit === BYTES ? amountAsTyped(asked, unit) : `${amountAsTyped(asked, unit)} ${unit}`;
}

/** "50%"; with a budget the share of its cost that goes, and what was asked: "46% (2MB)". */
export function targetWithBudget(targets: Targets, digits = 0): string {
  const { targetSparsity } = targets;
  const words = targetWords(targets, digits);
  const goes = targetSparsity === undefined ? words : share(targetSparsity, digits);
  return goes === words ? words : `${goes} (${words})`;
}

const BYTE_UNITS = [...BINARY_UNITS, ...DECIMAL_BYTES];
const DIGITS = 4;

/** Returns an amount as a user types it, in the unit in which it has the fewest digits: "2.5GiB", "800MB", "2.1M". */
export function amountAsTyped(value: number, unit: string): string {
  const exact = (unit === BYTES ? BYTE_UNITS : DECIMAL_PREFIXES).flatMap(([scale, name]) => {
    const short = Number((value / scale).toPrecision(DIGITS));
    return short >= 1 && Math.round(short * scale) === value ? [{ text: `${short}${name}`, digits: digitsIn(short) }] : [];
  });
  const [shortest] = exact.sort((one, other) => one.digits - other.digits);
  return shortest?.text ?? `${scaled(value)}${unit === BYTES ? 'B' : ''}`;
}

const digitsIn = (short: number): number => short.toString().replace('.', '').replace(/0+$/, '').length;

/** Returns the least and the most that may be asked in the form of what was asked: "1.001MiB to 13.2MiB". Both are within the limits. */
export function limitsAsTyped(limits: { least: number; most: number; asked: number }, unit: string): string {
  const { least, most, asked } = limits;
  const bytes = amountAsTyped(asked, unit).endsWith('iB') ? BYTE_UNITS : DECIMAL_BYTES;
  const units = unit === BYTES ? bytes : DECIMAL_PREFIXES;
  const inUnit = (value: number, round: (value: number) => number): string => {
    const [scale, name] = units.find(([one]) => one <= value) ?? units.at(-1)!;
    const parts = 10 ** Math.max(0, DIGITS - 1 - Math.floor(Math.log10(Math.max(1, value / scale))));
    return `${round((value / scale) * parts) / parts}${name}`;
  };
  return `${inUnit(least, Math.ceil)} to ${inUnit(most, Math.floor)}`;
}

function scaled(value: number): string {
  const power = Math.min(Math.max(Math.floor(Math.log10(value) / 3), 0), 4);
  return `${Number((value / 1000 ** power).toPrecision(3))}${['', 'k', 'M', 'G', 'T'][power]}`;
}
