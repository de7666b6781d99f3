import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { rotate } from './log-rotation.js';

const folder = mkdtempSync(join(tmpdir(), 'logs-'));
const path = join(folder, 'server.log');
const silent = pino({ level: 'silent' });
afterAll(() => rmSync(folder, { recursive: true }));

test('a long log begins again while its writer goes on, and what it held lies beside it', () => {
  rotate(path, silent, 10); // there is no log yet
  const writer = openSync(path, 'a');
  writeSync(writer, 'a short\n');
  rotate(path, silent, 10);
  expect(readFileSync(path, 'utf8')).toBe('a short\n');
  writeSync(writer, 'a longer log\n');
  rotate(path, silent, 10);
  expect([readFileSync(path, 'utf8'), readFileSync(`${path}.1`, 'utf8')]).toEqual(['', 'a short\na longer log\n']);
  writeSync(writer, 'and on it goes\n');
  rotate(path, silent, 10);
  expect(readFileSync(`${path}.1`, 'utf8')).toBe('and on it goes\n');
  closeSync(writer);
});

test('a log gets short also where no copy can be made of it', () => {
  appendFileSync(path, 'x'.repeat(100));
  rmSync(`${path}.1`);
  mkdirSync(join(`${path}.1`, 'inside'), { recursive: true });
  rotate(path, silent, 10);
  expect(statSync(path).size).toBe(0);
});
