import { labelsThatFit } from './block-labels.js';

const blocks = (count: number) => Array.from({ length: count }, (_, index) => ({ at: (100 * index) / count, words: `#${count - index}` }));
const shown = (count: number, width: number): string[] => labelsThatFit(blocks(count), width).map(({ words }) => words);

test('all blocks are named where they are wide enough', () => expect(shown(4, 400)).toEqual(['#4', '#3', '#2', '#1']));

test('of narrow blocks, as many are named as stand clear of one another', () => {
  expect(shown(20, 400)).toEqual(['#20', '#18', '#16', '#14', '#12', '#10', '#8', '#6', '#4', '#2']);
});

test('a label that would reach beyond the line is left out', () => expect(shown(5, 100)).toEqual(['#5', '#3']));

test('nothing is named before the line has a width', () => expect(shown(4, 0)).toEqual([]));
