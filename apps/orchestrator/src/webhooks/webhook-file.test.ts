import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWebhookFile } from './webhook-file.js';

const folder = mkdtempSync(join(tmpdir(), 'webhooks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const SECRET = 'a secret of 24 characters';
const secretFile = (name: string, text: string, mode = 0o600): void => {
  writeFileSync(join(folder, name), text, { mode });
  chmodSync(join(folder, name), mode);
};
secretFile('secret', `${SECRET}\n`);
secretFile('short', 'abc');
secretFile('open', SECRET, 0o644);

function read(text: string) {
  const file = join(folder, 'hooks.yaml');
  writeFileSync(file, text);
  return readWebhookFile(file);
}
const hook = (change: Record<string, string | null> = {}): string => {
  const given = { name: 'chat', url: 'https://example.org/x?key=hidden', secret_file: 'secret', events: '[run_failed]', ...change };
  const lines = Object.entries(given).filter(([, value]) => value !== null);
  return `webhooks:\n  - ${lines.map(([key, value]) => `${key}: ${value}`).join('\n    ')}\n`;
};

it('a file names receivers, their secrets beside it, and the events of each', () => {
  expect(read(hook())).toEqual({
    webhooks: [{ name: 'chat', url: 'https://example.org/x?key=hidden', secret: Buffer.from(SECRET), events: new Set(['run_failed']) }],
    diskFreeBytes: 10e9,
  });
  expect(read(`${hook()}disk_free_gb: 50\n`).diskFreeBytes).toBe(50e9);
  expect(readWebhookFile(undefined).webhooks).toEqual([]);
});

it.each(['http://127.0.0.1:8080/', 'http://[::1]:8080/', 'http://localhost/', 'https://10.0.0.1/'])('%s is allowed', (url) => {
  expect(read(hook({ url })).webhooks[0]!.url).toBe(url);
});

it.each([
  [{ url: 'http://example.org/hidden' }, /^hooks\.yaml:3: url: https:\/\/ is allowed, and http:\/\/ to this machine only/],
  [{ url: 'http://127.0.0.1.example.org/hidden' }, /^hooks\.yaml:3: url: https/],
  [{ url: 'ftp://example.org/hidden' }, /^hooks\.yaml:3: url: https/],
  [{ url: 'https://user:hidden@example.org/' }, /^hooks\.yaml:3: url: a user or a password/],
  [{ url: 'hidden' }, /^hooks\.yaml:3: url: this is not an address/],
  [{ url: null }, /url: is needed for the webhook chat/],
  [{ name: null }, /name: each webhook needs a name/],
  [{ name: 'Über' }, /^hooks\.yaml:2: name: at most 40 small letters/],
  [{ secret_file: null }, /secret_file: is needed for the webhook chat/],
  [{ secret_file: 'nowhere' }, /^hooks\.yaml:4: secret_file: .*nowhere/],
  [{ secret_file: 'short' }, /^hooks\.yaml:4: secret_file: the secret has 3 bytes: 16 or more are needed/],
  [{ secret_file: 'open' }, /^hooks\.yaml:4: secret_file: every user of this machine can open .*chmod 600/],
  [{ events: null }, /events: is needed/],
  [{ events: '[]' }, /^hooks\.yaml:5: events: one or more are needed/],
  [{ events: '[run_faild]' }, /^hooks\.yaml:5: events: "run_faild": allowed are run_done, run_failed, run_diverged/],
  [{ secret: 'x' }, /^hooks\.yaml:6: there is no "secret"; allowed are name, url, secret_file, events/],
])('%j is refused', (change, message) => {
  const refused = expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) }) as Error;
  expect(() => read(hook(change))).toThrow(refused);
  expect(() => read(hook(change))).not.toThrow(/hidden|24 characters/);
});

it.each([
  ['', /webhooks: a list of 1 or more is needed/],
  ['webhooks: []', /webhooks: a list of 1 or more is needed/],
  ['webhooks: chat', /webhooks: a list is needed/],
  [hook() + hook().slice('webhooks:\n'.length), /name: chat is given twice/],
  [`${hook()}disk_free_gb: 0\n`, /disk_free_gb: a whole number of 1 or more is needed/],
  ['hooks: 1', /there is no "hooks"; allowed are webhooks, disk_free_gb/],
])('a file %j is refused', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

it('a file that is not there is refused', () => {
  const refused = expect.objectContaining({ code: 'CONFIG_INVALID', field: '--webhooks' }) as Error;
  expect(() => readWebhookFile(join(folder, 'nowhere.yaml'))).toThrow(refused);
});
