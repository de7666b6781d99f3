import type { Output } from '../output/output.js';
import { LiveLine } from './live-line.js';
import { ShareLine } from './share-line.js';

/** Collects what is written to standard error while `work` runs at times that the test sets. */
function written(output: Output, work: (line: ShareLine, at: (ms: number) => void) => void): string {
  const [began, error] = [Date.now(), process.stderr.write.bind(process.stderr)];
  let [text, now] = ['', began];
  const clock = jest.spyOn(Date, 'now').mockImplementation(() => now);
  process.stderr.write = (part: string | Uint8Array) => Boolean((text += String(part)));
  const share = new ShareLine(output, 'climbing');
  try {
    work(share, (ms) => (now = began + ms));
  } finally {
    share.end();
    process.stderr.write = error;
    clock.mockRestore();
  }
  return text;
}
const off = (json: boolean): Output => ({ json, terminal: { isLive: false, unicode: false, columns: 80 } }) as unknown as Output;

test('off a terminal a long command says every ten seconds how far it is, and JSON is left alone', () => {
  const work = (line: ShareLine, at: (ms: number) => void): void => {
    line.update(0);
    at(11_000);
    line.update(0.25);
    at(12_000);
    line.update(0.5);
    at(22_000);
    line.update(0, 'run abcd trains');
  };
  const lines = written(off(false), work).trim().split('\n');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^climbing .*25%$/);
  expect(lines[1]).toBe('climbing: waiting for run abcd trains');
  expect(written(off(true), work)).toBe('');
});

test('it says so also while nothing new comes, the same again after a minute', () => {
  jest.useFakeTimers();
  let text = '';
  const stderr = { write: (part: string) => Boolean((text += part)) } as unknown as NodeJS.WritableStream;
  try {
    const line = new LiveLine(off(false).terminal, process.stdout, stderr);
    line.update('exporting 0%');
    jest.advanceTimersByTime(9_000);
    expect(text).toBe('');
    jest.advanceTimersByTime(50_000);
    expect(text).toBe('exporting 0%\n');
    jest.advanceTimersByTime(20_000);
    expect(text).toBe('exporting 0%\nexporting 0%\n');
    line.end();
    jest.advanceTimersByTime(600_000);
    expect(text).toBe('exporting 0%\nexporting 0%\n');
  } finally {
    jest.useRealTimers();
  }
});
