import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hoursOf, QuotaFile, readQuotaFile } from './quota-file.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-quotas-'));
const file = join(folder, 'hours.yaml');
afterAll(() => rmSync(folder, { recursive: true }));
const written = (text: string): string => {
  writeFileSync(file, text);
  return file;
};

test('a quota for each caller, others for some, and none for the owner of the folder', () => {
  const quota = readQuotaFile(
    written('hours: 200\ndays: 7\ncallers:\n  "login:https://id.lab:ann": 500\n  token:ci: 0\n  token:boss: unlimited\n  root: 9\n'),
  );
  const callers = ['login:https://id.lab:ann', 'token:ci', 'token:boss', 'root', 'login:https://id.lab:bob', 'carl', ''];
  expect(callers.map((caller) => hoursOf(quota, caller))).toEqual([500, 0, null, 9, 200, null, null]);
  expect(quota.days).toBe(7);
});

test('an empty file limits only the callers that it names: none', () => {
  expect(hoursOf(readQuotaFile(written('')), 'token:ci')).toBeNull();
  expect(readQuotaFile(file).days).toBe(30);
});

test.each([
  ['hours: many', 1, 'hours'],
  ['hours: -1', 1, 'hours'],
  ['days: 0', 1, 'days'],
  ['days: unlimited', 1, 'days'],
  ['callers:\n  token:ci: 1.5', 2, 'token:ci'],
  ['callers: 5', 1, 'callers'],
  ['hour: 5', 1, 'hour'],
])('%j is refused, with its line and key', (text, line, key) => {
  expect(() => readQuotaFile(written(text))).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(new RegExp(`:${line}.*${key}`)) as string }) as Error,
  );
});

test('a changed file takes effect, and a wrong one leaves the quotas as they were and is reported once', () => {
  const quotas = new QuotaFile(written('hours: 5'));
  const reported: string[] = [];
  quotas.reportTo({ info: () => reported.push('read'), error: ({ code }: { code: string }) => reported.push(code) } as never);
  written('hours: 16');
  quotas.look();
  written('hours: wrong');
  quotas.look();
  quotas.look();
  rmSync(file);
  quotas.look();
  expect(quotas.current.hours).toBe(16);
  expect(reported).toEqual(['read', 'CONFIG_INVALID', expect.any(String)]);
});
