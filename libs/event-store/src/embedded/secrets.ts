// The secrets that keep a server to its user and its folder: certificates by which each side knows the other's place, and passwords. They
// are made at the first start and lie in the store's folder, readable by its user only. A copy of the folder makes its own, so that no
// client takes the store of one folder for that of another.
import { randomBytes, webcrypto } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asOwnerOnly, hasMark, makeFolder, placeMark } from '#files';
import { EmbeddedStoreError } from '../event-store.errors.js';
import { readCertificate, readTlsPair } from '../server/tls-files.js';

export interface StoreSecrets {
  tls: { certFile: string; keyFile: string; caFile: string };
  users: { admin: string; ops: string };
}

const FOLDER = 'secrets';
const [AUTHORITY, CERTIFICATE, KEY, USERS] = ['ca.crt', 'node.crt', 'node.key', 'users.json'] as const;
/** The mark of the folder that they were made in. */
const PLACE = 'folder';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const YEARS_GOOD = 100;
const DAY_MS = 86_400_000;

/**
 * The secrets of the store in this folder. Makes them where they are missing, or where they came along with a copy of another folder.
 * @throws EmbeddedStoreError STORE_TLS_UNUSABLE with the file that is damaged
 */
export async function storeSecrets(folder: string): Promise<StoreSecrets> {
  const place = join(folder, FOLDER);
  if (!areOf(place)) await makeSecrets(folder, place);
  const tls = { certFile: join(place, CERTIFICATE), keyFile: join(place, KEY), caFile: join(place, AUTHORITY) };
  try {
    readTlsPair(tls);
    if (!readCertificate(tls.certFile).verify(readCertificate(tls.caFile).publicKey)) {
      throw new Error(`${tls.caFile} is not the authority that signed ${tls.certFile}`);
    }
    return { tls, users: readUsers(join(place, USERS)) };
  } catch (error) {
    const hint = `remove the folder ${place}, and the next start makes these secrets anew: no event depends on them`;
    throw new EmbeddedStoreError('STORE_TLS_UNUSABLE', `${(error as Error).message}; ${hint}`, { cause: error });
  }
}

/** Earlier releases wrote no mark: theirs are made anew, as those of a copy are. */
function areOf(place: string): boolean {
  try {
    return hasMark(place, readFileSync(join(place, PLACE), 'utf8').trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

function readUsers(file: string): StoreSecrets['users'] {
  try {
    const { admin, ops } = JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<keyof StoreSecrets['users'], unknown>>;
    if (typeof admin === 'string' && admin !== '' && typeof ops === 'string' && ops !== '') return { admin, ops };
  } catch (error) {
    throw new Error(`${file} can't be read: ${(error as Error).message}`, { cause: error });
  }
  throw new Error(`${file} holds no passwords of the users admin and ops`);
}

async function makeSecrets(folder: string, place: string): Promise<void> {
  const { authority, certificate, key } = await makeCertificates();
  const users: StoreSecrets['users'] = { admin: newPassword(), ops: newPassword() };
  const incoming = `${place}.new`;
  asOwnerOnly(() => {
    makeFolder(folder);
    rmSync(incoming, { recursive: true, force: true });
    mkdirSync(incoming);
    const contents = {
      [AUTHORITY]: authority,
      [CERTIFICATE]: certificate,
      [KEY]: key,
      [USERS]: JSON.stringify(users),
      [PLACE]: placeMark(incoming),
    };
    for (const [name, content] of Object.entries(contents)) writeFileSync(join(incoming, name), `${content}\n`);
    rmSync(place, { recursive: true, force: true });
    renameSync(incoming, place); // all of them, or none
  });
}

function newPassword(): string {
  return randomBytes(32).toString('base64url');
}

/** An authority that signs one certificate: its own key is forgotten at once. */
async function makeCertificates(): Promise<{ authority: string; certificate: string; key: string }> {
  // Needed once in the life of a store.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const newKeys = (): Promise<webcrypto.CryptoKeyPair> => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const [authorityKeys, keys] = [await newKeys(), await newKeys()];
  const now = Date.now();
  const life = { notBefore: new Date(now - DAY_MS), notAfter: new Date(now + YEARS_GOOD * 365 * DAY_MS) };
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    ...life,
    serialNumber: newSerialNumber(),
    name: 'CN=Espalier event store authority',
    keys: authorityKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(authorityKeys.publicKey),
    ],
  });
  const certificate = await x509.X509CertificateGenerator.create({
    ...life,
    serialNumber: newSerialNumber(),
    subject: 'CN=localhost',
    issuer: authority.subject,
    signingKey: authorityKeys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true), // the official client refuses an authority's own
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(authorityKeys.publicKey),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----`;
  return { authority: authority.toString('pem'), certificate: certificate.toString('pem'), key };
}

/** Positive, as a serial number must be. */
function newSerialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0]! &= 0x7f;
  bytes[0]! |= 0x40;
  return bytes.toString('hex');
}
