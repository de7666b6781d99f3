import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logsElsewhere, logTail } from './log-tail.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-tail-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (time: number, msg: string): string => `${JSON.stringify({ level: 30, time, msg })}\n`;
const texts = async (): Promise<string[]> => (await logTail(folder)).map(({ text }) => text);

test('the logs are one, with what was copied aside when the log became long', async () => {
  writeFileSync(join(folder, 'server.log.1'), line(1, 'first'));
  writeFileSync(join(folder, 'server.log'), line(3, 'third'));
  writeFileSync(join(folder, 'event-store.log'), line(2, 'second'));
  expect(await texts()).toEqual(['first', 'second', 'third']);
});

test('only the end of a long log is read, from the beginning of a line', async () => {
  writeFileSync(join(folder, 'server.log.1'), line(1, 'before'));
  writeFileSync(join(folder, 'server.log'), line(2, 'x'.repeat(1 << 20)) + line(3, 'last'));
  expect(await texts()).toEqual(['last']);
});

test('a log that this process does not write is of an earlier server', () => {
  expect(logsElsewhere(folder)).toBe(true);
  writeFileSync(join(folder, 'server.log'), '');
  expect(logsElsewhere(folder)).toBe(true);
});
