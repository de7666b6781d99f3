import { namesProgram } from './page-build.js';

const page = '<script type="module" crossorigin src="/assets/index-B2x9.js"></script>';

test('a page is of the same build where it names the same program', () => {
  expect(namesProgram(page, '/assets/index-B2x9.js')).toBe(true);
  expect(namesProgram(page, '/assets/index-Cq10.js')).toBe(false);
});
