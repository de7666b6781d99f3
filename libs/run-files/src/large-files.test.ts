// Tests that the text of a study takes no longer to refuse than to read, whatever is in it. A caller sends it, and the server reads
// it on the thread of all calls.
import { readStudy } from './study-file.js';

const BYTES = 250_000;
const repeated = (part: (index: number) => string): string => {
  const parts: string[] = [];
  for (let bytes = 0; bytes < BYTES;) {
    parts.push(part(parts.length));
    bytes += parts.at(-1)!.length;
  }
  return parts.join('');
};

const texts: [what: string, text: string][] = [
  ['keys', repeated((index) => `k${index}: 1\n`)],
  ['equal keys', repeated(() => 'model: m\n')],
  ['keys of settings', `settings:\n${repeated((index) => `  k${index}: 1\n`)}`],
  ['keys of a mapping in braces', `settings: {${repeated((index) => `k${index}: 1, `)}}`],
  ['anchors', repeated((index) => `k${index}: &a${index} 1\n`)],
  ['brackets', '['.repeat(BYTES)],
  ['items', repeated(() => '- a\n')],
  ['quotes', `a: ${"'".repeat(BYTES)}`],
  ['spaces', `a: b${' '.repeat(BYTES)}c`],
  ['lines of a text', `a: ${repeated(() => 'b\n  ')}`],
];

test.each(texts)('a study of 250 kB of %s is refused in less than five seconds of the processor', (_, text) => {
  const before = process.cpuUsage();
  expect(() => readStudy('/study.yaml', text, 'yaml')).toThrow();
  const { user } = process.cpuUsage(before);
  expect(user / 1e6).toBeLessThan(5);
});
