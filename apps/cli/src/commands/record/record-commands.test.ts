import { branchesOf } from './record-commands.js';

test('only the last child ends the line of its parent', () => {
  const depths = [0, 1, 2, 2, 1, 2, 3, 1];
  const nodes = depths.map((depth) => ({ depth }));
  expect(branchesOf(nodes, true)).toEqual(['', '├─ ', '│  ├─ ', '│  └─ ', '├─ ', '│  └─ ', '│     └─ ', '└─ ']);
  expect(branchesOf(nodes, false)[2]).toBe('|  |- ');
  expect(branchesOf([{ depth: 0 }, { depth: 1 }, { depth: 2 }], true)).toEqual(['', '└─ ', '   └─ ']);
});
