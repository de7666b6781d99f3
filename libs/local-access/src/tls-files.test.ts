import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newAuthority, readCertificatesOnly } from '#local-access';

const folder = mkdtempSync(join(tmpdir(), 'tls-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

function readAfterWriting(text: string): string {
  const file = join(folder, 'authority.pem');
  writeFileSync(file, text);
  return readCertificatesOnly(file);
}

test('of a file that is handed on go the certificates, and no key beside them', async () => {
  const [one, other] = [await newAuthority('one', 1), await newAuthority('other', 1)];
  const bundle = readAfterWriting(`a note\n${one.key}\n${one.certificate}\n${other.certificate.replaceAll('\n', '\r\n')}\n${other.key}`);
  expect(bundle.match(/-----BEGIN .*-----/g)).toEqual(Array(2).fill('-----BEGIN CERTIFICATE-----'));
  expect(readAfterWriting(bundle)).toBe(bundle);
});

test('a file without a certificate is refused by its name', async () => {
  const { key } = await newAuthority('one', 1);
  for (const text of ['', 'no PEM', key]) expect(() => readAfterWriting(text)).toThrow(/authority\.pem holds no certificate/);
  expect(() => readCertificatesOnly(join(folder, 'none.pem'))).toThrow(/none\.pem/);
});
