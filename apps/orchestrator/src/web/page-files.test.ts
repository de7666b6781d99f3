// Tests which addresses answer with the dashboard's page. Others must not, since programs take an answer of 200 for what they asked.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PageFiles } from './page-files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'page-files-'));
  mkdirSync(join(folder, 'assets'));
  writeFileSync(join(folder, 'index.html'), 'the page');
  writeFileSync(join(folder, 'assets/main-1.js'), 'a program');
  writeFileSync(join(folder, 'pages.json'), JSON.stringify(['/', '/compare', '/server', '/studies']));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('the page is the answer at the addresses of its views, and nowhere else', () => {
  const files = new PageFiles(folder);
  const textAt = (path: string): string | undefined => files.at(path)?.bytes.toString();
  const views = [
    '/',
    '/compare',
    '/server',
    '/studies',
    '/studies/k3f9',
    '/studies/my%20study',
    '/pages/abcdefghijkl',
    '/runs/abcdefghijkl',
    '/runs/k3f9/masks',
  ];
  expect(views.map(textAt)).toEqual(views.map(() => 'the page'));
  expect(textAt('/assets/main-1.js')).toBe('a program');
  for (const path of ['/healthz', '/api/v1', '/runs', '/runs/a/b/c', '/studies/a/b', '/assets/main-2.js', '/favicon.ico', '/Server'])
    expect([path, textAt(path)]).toEqual([path, undefined]);
});

test('without the files there is no page', () => {
  const files = new PageFiles(join(folder, 'missing'));
  expect([files.at('/'), files.areBuilt]).toEqual([undefined, false]);
});
