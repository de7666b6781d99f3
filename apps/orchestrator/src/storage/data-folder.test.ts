import { unusableText } from './data-folder.js';

test.each<[string, string, RegExp]>([
  [
    'EPERM',
    'a folder of another user, such as a volume that a cluster has mounted, tells what would do',
    /can't be used: refused. It belongs .* --data-folder \/data\/espalier$/,
  ],
  ['EROFS', 'another problem is told as it is', /^the data folder \/data can't be used: refused$/],
])('%s: %s', (code, _, words) => {
  expect(unusableText('/data', Object.assign(new Error('refused'), { code }))).toMatch(words);
});
