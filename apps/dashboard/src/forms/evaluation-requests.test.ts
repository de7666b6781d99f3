import { evaluationRequests, NOTHING_CHOSEN, withoutFirst, type EvaluateValues } from './evaluation-requests.js';
import { INTACT, LAST } from './subjects.js';

const asked = (values: Partial<EvaluateValues>) => evaluationRequests('run', { ...NOTHING_CHOSEN, ...values }).map(({ work }) => work);
const refused = (values: Partial<EvaluateValues>): unknown => {
  try {
    return asked(values);
  } catch (error) {
    return error;
  }
};

test('each chosen model is a job of its own', () => {
  const all = asked({ subjects: [LAST, INTACT], teachers: '10, 20' });
  expect(all.map((one) => one.case)).toEqual(['evaluate', 'evaluate', 'evaluate', 'evaluate']);
  expect(all.map(({ value }) => value)).toMatchObject([{ intact: false }, { intact: true }, { teacherMark: 10 }, { teacherMark: 20 }]);
});

test('another text and tasks have their own fields; what was typed for the others is not sent', () => {
  const typed = {
    dataPath: ' /text.jsonl ',
    textColumn: 'content',
    window: '64',
    tasks: 'boolq, piqa',
    taskData: '/data',
    limit: '5',
    dtype: 'bf16',
  };
  expect(asked({ ...typed, measure: 'own' })[0]).toMatchObject({ value: { dataPath: '', textColumn: '', window: 64 } });
  expect(asked({ ...typed, measure: 'text' })[0]).toMatchObject({ value: { dataPath: '/text.jsonl', textColumn: 'content' } });
  const [tasks] = asked({ ...typed, measure: 'tasks', importance: 'wanda' });
  expect(tasks).toMatchObject({
    case: 'evaluateTasks',
    value: { tasks: ['boolq', 'piqa'], taskDataPath: '/data', limit: 5, computeDtype: 'bf16' },
  });
});

test('models whose jobs have been started are not asked for again', () => {
  const values = { ...NOTHING_CHOSEN, subjects: [LAST, INTACT], teachers: '10, 20' };
  expect(withoutFirst(values, 0)).toEqual({ subjects: [LAST, INTACT], teachers: '10, 20' });
  expect(withoutFirst(values, 1)).toEqual({ subjects: [INTACT], teachers: '10, 20' });
  expect(withoutFirst(values, 3)).toEqual({ subjects: [], teachers: '20' });
});

test('the baseline of single weights is a job too, with its share', () => {
  const baseline = asked({ subjects: [], importance: 'wanda', sparsity: '50%' });
  expect(baseline).toMatchObject([{ case: 'evaluate', value: { unstructured: { importance: 'wanda', sparsity: 0.5 } } }]);
  expect(asked({ subjects: [], importance: 'magnitude' })[0]!.value).not.toHaveProperty('unstructured.sparsity', 0);
});

test.each([
  ['no model', { subjects: [] }, 'subjects'],
  ['no mark', { teachers: 'x' }, 'teachers'],
  ['no number', { window: 'x' }, 'window'],
  ['no share', { importance: 'wanda', sparsity: '2' }, 'unstructured.sparsity'],
])('%s is named by its field', (_, values, field) => expect(refused(values)).toMatchObject({ field }));
