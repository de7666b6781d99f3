// The models of a run that can be evaluated: its last state, its teachers, its exports, and the model before pruning.
import type { EvaluateRunRequest, Run } from '../generated/espalier/v1/run_service_pb.js';
import { count } from '../ui/format.js';
import { FieldProblem } from './form-troubles.js';

export const LAST = 'last';
export const INTACT = 'intact';
const TEACHER = 'teacher ';
const EXPORT = 'export ';

/** A model in the form that a form's field holds. */
export type Subject = string;
type Named = Pick<EvaluateRunRequest, 'intact' | 'exportDigest'> & { teacherMark?: number };

export const teacherSubject = (mark: number): Subject => `${TEACHER}${mark}`;
export const exportSubject = (digest: string): Subject => EXPORT + digest;

export function subjectRequest(subject: Subject): Named {
  if (subject === INTACT) return { intact: true, exportDigest: '' };
  if (subject.startsWith(TEACHER)) return { intact: false, exportDigest: '', teacherMark: Number(subject.slice(TEACHER.length)) };
  if (subject.startsWith(EXPORT)) return { intact: false, exportDigest: subject.slice(EXPORT.length) };
  return { intact: false, exportDigest: '' };
}

export function subjectWords({ intact, exportDigest, teacherMark }: { [Name in keyof Named]?: Named[Name] | undefined }): string {
  if (intact === true) return 'intact model';
  if (exportDigest !== undefined && exportDigest !== '') return `export ${exportDigest.slice(0, 8)}`;
  return teacherMark === undefined ? 'last state' : `teacher #${teacherMark}`;
}

const exportWords = ({ format, dtype, step, digest }: Run['exports'][number]): string =>
  `${[format, dtype].filter(Boolean).join(' ')} of step ${count(step)}, ${digest.slice(0, 8)}`;

/** Returns the run's existing exports, the latest first. An export that was made twice appears once. */
export function exportOptions(run: Pick<Run, 'exports'>): [subject: Subject, words: string][] {
  const latest = new Map(run.exports.map((one) => [exportSubject(one.digest), exportWords(one)]));
  return [...latest].reverse();
}

/** Reads a list of marks, such as "20, 30". */
export function marksIn(text: string, field: string): number[] {
  const words = text.split(/[\s,#]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d{1,9}$/.test(word));
  if (wrong !== undefined)
    throw new FieldProblem(field, `"${wrong}" is not a mark of a teacher: whole numbers with commas between are allowed`);
  return [...new Set(words.map(Number))];
}

const LARGEST = 2 ** 32 - 1;

/** Reads a whole number; '' gives 0, which means the default. */
export function wholeNumber(text: string, field: string): number {
  const value = Number(text.trim());
  if (!Number.isInteger(value) || value < 0 || value > LARGEST) throw new FieldProblem(field, `"${text}" is not a whole number`);
  return value;
}
