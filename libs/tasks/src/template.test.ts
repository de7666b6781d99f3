// Tests which columns a template names. A row that lacks one of them is refused with the column's name.
import { compile } from './template.js';

const columnsOf = (source: string): string[] => [...compile(source, 'prompt').columns].sort();

test.each([
  ['{{question.strip()}}\nA. {{choices[0]}}', ['choices', 'question']],
  ["{{text.split(' ')[:-1]|join(sep)}}", ['sep', 'text']],
  ['{% for hint in hints %}{{loop.index}}: {{hint.text}} {% endfor %}', ['hints']],
  ['{% set n = size * 2 %}{{n}}', ['size']],
  ['{{ a if b is defined else c }}', ['a', 'b', 'c']],
  ['{% if kind == "x" %}{{x}}{% elif y %}-{% endif %}', ['kind', 'x', 'y']],
  ['{{ names[place] | upper | replace("A", letter) }}', ['letter', 'names', 'place']],
  ['no columns at all', []],
])('%s', (source, columns) => {
  expect(columnsOf(source)).toEqual(columns);
});

test('line ends at the end of a template count', () => {
  expect(compile('{{a}}\n\n', 'prompt').render({ a: 1 })).toBe('1\n\n');
});
