import type { Trouble } from '../api/view-state.js';
import { formTroubles, joined, ofPart, withoutField } from './form-troubles.js';

const refusal = (message: string, ...fields: [string, string][]): Trouble => ({
  code: 'X',
  message,
  fields: fields.map(([field, description]) => ({ field, description })),
  isAway: false,
  isLocked: false,
  isPassing: false,
});
const TARGET = 'settings.target_sparsity';

describe('what a form says of a refusal', () => {
  test('stands once, beside its field; of a field that the form lacks it stands apart, with its name', () => {
    const both = refusal('2 fields are wrong', [TARGET, 'settings.target_sparsity: must be below 1'], ['settings.seed_of_all', 'is odd']);
    expect(formTroubles(both, [TARGET])).toEqual({ byField: { [TARGET]: 'must be below 1' }, rest: 'seed of all: is odd' });
    expect(formTroubles(refusal('no model at /x', ['model_path', 'no model at /x']), ['model_path']).rest).toBe('');
  });

  test('of a job names the fields of what is asked for', () => {
    const both = ofPart(
      refusal('', ['evaluate_tasks.task_data_path', 'task_data_path: is empty'], ['export.form', 'is odd'], ['name', 'b']),
    );
    expect(formTroubles(both, ['task_data_path', 'form', 'name']).byField).toEqual({
      task_data_path: 'is empty',
      form: 'is odd',
      name: 'b',
    });
  });

  test('without a field its message stands apart', () => {
    expect(formTroubles(refusal('the disk is full'), [TARGET])).toEqual({ byField: {}, rest: 'the disk is full' });
    expect(formTroubles(undefined, [TARGET])).toEqual({ byField: {}, rest: '' });
  });

  test('goes with the value that it is about, and leaves the others', () => {
    const both = refusal('', [TARGET, 'a'], ['name', 'b']);
    const left = withoutField(both, TARGET);
    expect(left?.fields.map(({ field }) => field)).toEqual(['name']);
    expect(withoutField(left, 'name')).toBeUndefined();
    expect(withoutField(both, 'tags')).toBe(both);
    expect(withoutField(refusal('the disk is full'), 'name')?.message).toBe('the disk is full');
  });

  test('of the plan and of the launch is one refusal, each field once', () => {
    const plan = refusal('', [TARGET, 'of the plan']);
    const launch = refusal('', [TARGET, 'of the launch'], ['name', 'taken']);
    expect(joined(launch, plan)?.fields).toEqual(launch.fields);
    expect(joined(undefined, plan)).toBe(plan);
    expect(joined(refusal('disk full'), plan)).toMatchObject({ message: 'disk full', fields: plan.fields });
  });
});
