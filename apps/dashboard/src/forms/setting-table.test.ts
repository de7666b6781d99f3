import { defaultOf, SETTING_FIELDS, type Typed } from './setting-table.js';

const fieldOf = (name: string) => SETTING_FIELDS.find((field) => field.name === name)!;
const defaults = (typed: Typed): string[] => ['preset', 'recipe', 'total_steps', 'seed'].map((name) => defaultOf(fieldOf(name), typed));

test('an empty field stands for the default of the chosen preset', () => {
  expect(defaults({})).toEqual(['nuteprune2', 'distill', '800', '42']);
  expect(defaults({ preset: 'short' })).toEqual(['nuteprune2', 'nuteprune', '1400', '42']);
  expect(defaults({ preset: 'paper' })).toEqual(['nuteprune2', 'nuteprune', '8750', '42']);
});
