// Writes numbers, times and states as people read them.
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import { hasMissedTarget } from '../../../../libs/comparison/src/index.js';
import { RunStatus, type TeacherRef } from '../generated/espalier/v1/common_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
/** Stands for a missing value. */
export const NONE = '–';
/** Stands for a value that is not loaded yet. */
export const LOADING = '…';

export const count = (value: number | bigint): string => whole.format(value).replaceAll(',', '\u202f');
/** Returns a text like "1 restart" or "2 restarts". */
export const counted = (value: number | bigint, noun: string): string => `${count(value)} ${noun}${Number(value) === 1 ? '' : 's'}`;
export const percent = (share: number, digits = 1): string => `${(share * 100).toFixed(digits)}\u2009%`;

/** Parts the digits before the point in threes. */
const grouped = (number: string): string => number.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(?:\d{3})+$)/g, '\u202f'));

/** Rounds to the digits, but keeps all digits before the point: 1010 with three digits, never 1.01e+3. */
function significant(value: number, digits: number): string {
  return grouped(Math.abs(value) >= 10 ** digits - 0.5 ? String(Math.round(value)) : value.toPrecision(digits));
}

export function decimal(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (Number.isInteger(value)) return (size >= 1e6 ? short(value) : count(value)).replace('-', '\u2212');
  if (size < 0.001 || size >= 1e6) return value.toExponential(2).replaceAll('-', '\u2212').replace('e+', 'e');
  return significant(value, size >= 1000 ? 5 : 4).replace('-', '\u2212');
}

/** Formats a number for an axis, with only the digits that it needs. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e12) return countTick(value).replace('-', '\u2212');
  if (size !== 0 && (size < 0.001 || size >= 1e12))
    return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e').replaceAll('-', '\u2212');
  return grouped(String(Number(value.toPrecision(4)))).replace('-', '\u2212');
}

/** Writes the steps from one to another, which is not among them: "20", or "20–22". */
export const stepRange = (from: number, end: number): string => (end - from > 1 ? `${count(from)}–${count(end - 1)}` : count(from));

/** Formats a share for an axis, in percent. */
export const percentTick = (share: number): string => `${tick(Number((share * 100).toPrecision(12)))}\u2009%`;

/** Formats a number of whole things for an axis, in few letters: 250, 1.5 k, 2 M. */
export function countTick(value: number): string {
  for (const [unit, size] of SIZES) if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(4))}\u2009${unit}`;
  return String(Number(value.toPrecision(4)));
}

const minuteOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const secondOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayOfYear = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const wholeDay = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

/** Formats a time in seconds since 1970 for an axis: the day at its beginning, and otherwise the time of day. */
export function clockTick(seconds: number): string {
  const at = new Date(seconds * 1000);
  if (at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0) return dayOfYear.format(at);
  return (at.getSeconds() === 0 ? minuteOfDay : secondOfDay).format(at);
}

/** Returns the name of an axis of time, with the day if all times are on the same day. */
export function clockName(from: number, to: number): string {
  const [first, last] = [from, to].map((seconds) => wholeDay.format(new Date(seconds * 1000)));
  return first === last ? `time on ${first}` : 'date and time';
}

/** Removes the noise of a binary fraction from a number: 0.30000000000000004 becomes 0.3. */
export function plainNumber(text: string): string {
  return /^-?\d*\.\d{15,}$/.test(text) ? String(Number(Number(text).toPrecision(15))) : text;
}

const SIZES = [
  ['G', 1e9],
  ['M', 1e6],
  ['k', 1e3],
] as const;

export function short(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  for (const [unit, size] of SIZES) if (Math.abs(value) >= size) return `${significant(value / size, 3)}\u2009${unit}`;
  return significant(value, 3);
}

export function bytes(value: number | bigint): string {
  let size = Number(value);
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (size < 1024) return `${unit === 'B' ? size : significant(size, 3)}\u2009${unit}`;
    size /= 1024;
  }
  return `${significant(size, 3)}\u2009TiB`;
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return NONE;
  if (seconds < 60) return `${Math.round(seconds)}\u2009s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u2009min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}\u2009h ${String(minutes % 60).padStart(2, '0')}`;
  return `${(hours / 24).toFixed(1)}\u2009d`;
}

const dayAndTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
export const time = (at: Timestamp | undefined): string => (at === undefined ? NONE : dayAndTime.format(timestampDate(at)));
export const clock = (seconds: number): string => dayAndTime.format(new Date(seconds * 1000));

export function ago(at: Timestamp | undefined, now = Date.now()): string {
  if (at === undefined) return NONE;
  const seconds = (now - timestampDate(at).getTime()) / 1000;
  if (seconds < 10) return 'just now';
  if (seconds < 86_400) return `${duration(seconds)} ago`;
  return new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' }).format(timestampDate(at));
}

export const statusWord = (status: RunStatus): string => RunStatus[status].toLowerCase();

/** The words for the status of a run of which the server says whether it evaluates. */
export const statusWordsOf = ({ status, evaluating }: { status: RunStatus; evaluating: boolean }): string =>
  evaluating ? 'evaluating' : statusWord(status);

/**
 * The words for the status of one run. All steps of an evaluating run are recorded, and only the evaluation on its validation text is left.
 */
export function runStatusWords({ status, step, settings, phases }: Pick<Run, 'status' | 'step' | 'settings' | 'phases'>): string {
  const works = status === RunStatus.TRAINING || status === RunStatus.PREPARING;
  const lastStep = phases.at(-1)?.endStep ?? settings?.totalSteps ?? Infinity;
  return works && step > 0n && step >= lastStep ? 'evaluating' : statusWord(status);
}

/** The fields of a run that decide how its status looks. The target may be missing, for example if a run's first event is lost. */
export interface Standing {
  status: RunStatus;
  hardSparsity: number;
  targetSparsity: number | undefined;
  /** Whether all steps of pruning are done. Recovery does not change the masks. */
  isPruned?: boolean;
}

export const standingOf = ({ status, step, hardSparsity, settings }: Run): Standing => ({
  status,
  hardSparsity,
  targetSparsity: settings?.targetSparsity,
  isPruned: step >= (settings?.totalSteps ?? Infinity),
});

export const missedTarget = ({ status, hardSparsity, targetSparsity, isPruned }: Standing): boolean =>
  targetSparsity !== undefined && hasMissedTarget({ completed: isPruned || status === RunStatus.COMPLETED, hardSparsity, targetSparsity });

/** Returns the tone of a run's status. Green is for runs that met their target. */
export function statusTone(standing: Standing): 'good' | 'live' | 'wait' | 'bad' | 'quiet' {
  switch (standing.status) {
    case RunStatus.COMPLETED:
      return missedTarget(standing) ? 'wait' : 'good';
    case RunStatus.TRAINING:
    case RunStatus.PREPARING:
      return 'live';
    case RunStatus.QUEUED:
    case RunStatus.PAUSED:
    case RunStatus.RESTARTING:
      return 'wait';
    case RunStatus.FAILED:
    case RunStatus.DAMAGED:
      return 'bad';
    default:
      return 'quiet';
  }
}

export function teacherWord(ref: TeacherRef | undefined): string {
  switch (ref?.teacher.case) {
    case 'mark':
      return `#${ref.teacher.value}`;
    case 'intact':
      return 'intact';
    case 'none':
      return 'none';
    default:
      return NONE;
  }
}

/** The first and the last of rising numbers. */
export const ends = (rising: readonly number[]): [first: number, last: number] => [rising[0] ?? 0, rising.at(-1) ?? 0];
