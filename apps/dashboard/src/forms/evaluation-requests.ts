// Turns the values of the evaluation form into the jobs that they ask for.
import { create } from '@bufbuild/protobuf';
import { StartJobRequestSchema, type StartJobRequest } from '../generated/espalier/v1/run_service_pb.js';
import { FieldProblem } from './form-troubles.js';
import { LAST, marksIn, subjectRequest, teacherSubject, wholeNumber, type Subject } from './subjects.js';

export const MEASURES = {
  own: "perplexity on the run's validation text",
  text: 'perplexity on another text',
  tasks: 'tasks: accuracy on public questions',
};

export interface EvaluateValues {
  measure: keyof typeof MEASURES;
  subjects: Subject[];
  teachers: string;
  dataPath: string;
  textColumn: string;
  window: string;
  tasks: string;
  taskData: string;
  limit: string;
  dtype: string;
  importance: string;
  sparsity: string;
}

export const NOTHING_CHOSEN: EvaluateValues = {
  measure: 'own',
  subjects: [LAST],
  teachers: '',
  dataPath: '',
  textColumn: '',
  window: '',
  tasks: '',
  taskData: '',
  limit: '',
  dtype: '',
  importance: '',
  sparsity: '',
};

/** The fields of the form by the names of the protocol, except the ones that choose the models. */
export const EVALUATION_FIELDS = [
  ...['subjects', 'teachers', 'teacher_mark', 'data_path', 'text_column', 'window', 'tasks', 'task_data_path', 'limit', 'compute_dtype'],
  ...['unstructured.importance', 'unstructured.sparsity'],
];

/** @throws FieldProblem */
export function evaluationRequests(runId: string, values: EvaluateValues): StartJobRequest[] {
  const { measure, tasks, taskData, limit, dtype, dataPath, textColumn, window, importance, sparsity } = values;
  const subjects = [...values.subjects, ...marksIn(values.teachers, 'teachers').map(teacherSubject)];
  const isBaseline = measure !== 'tasks' && importance !== '';
  if (subjects.length === 0 && !isBaseline) throw new FieldProblem('subjects', 'choose one model or more');
  if (measure === 'tasks') {
    const names = tasks.split(/[\s,]+/).filter(Boolean);
    const asked = { runId, tasks: names, taskDataPath: taskData.trim(), limit: wholeNumber(limit, 'limit'), computeDtype: dtype };
    return subjects.map((subject) => job({ case: 'evaluateTasks', value: { ...asked, ...subjectRequest(subject) } }));
  }
  const text = measure === 'text' ? { dataPath: dataPath.trim(), textColumn: textColumn.trim() } : {};
  const asked = { runId, ...text, window: wholeNumber(window, 'window') };
  const baseline = { importance, ...(sparsity.trim() === '' ? {} : { sparsity: shareOf(sparsity) }) };
  return [
    ...subjects.map((subject) => job({ case: 'evaluate', value: { ...asked, ...subjectRequest(subject) } })),
    ...(isBaseline ? [job({ case: 'evaluate', value: { ...asked, unstructured: baseline } })] : []),
  ];
}

/** Returns the chosen models without the ones whose jobs were started, in the order of the requests. */
export function withoutFirst(values: EvaluateValues, started: number): Pick<EvaluateValues, 'subjects' | 'teachers'> {
  const marks = marksIn(values.teachers, 'teachers');
  return {
    subjects: values.subjects.slice(started),
    teachers: marks.slice(Math.max(0, started - values.subjects.length)).join(', '),
  };
}

const job = (work: NonNullable<Parameters<typeof create<typeof StartJobRequestSchema>>[1]>['work'] & object): StartJobRequest =>
  create(StartJobRequestSchema, { work });

function shareOf(text: string): number {
  const [, number, percent] = /^\s*([\d.]+)\s*(%?)\s*$/.exec(text) ?? [];
  const share = Number(number) / (percent === '%' ? 100 : 1);
  if (!(share >= 0 && share < 1)) throw new FieldProblem('unstructured.sparsity', `"${text}" is not a share from 0 to below 1`);
  return share;
}
