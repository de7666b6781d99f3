// The secrets that protect a server's store from other users: passwords, and certificates by which server and client know the folder that
// the other belongs to. They are made at the first start and lie in the store's folder, where only its user can read them. A copy of the
// folder makes its own secrets, so that no client takes the copy's store for the original.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asOwnerOnly, folderMark, hasMark, makeFolder } from '#files';
import { newAuthority, readCertificate, readTlsPair, signedBy, type Signed } from '#local-access';
import { EmbeddedStoreError } from '../event-store.errors.js';

export interface StoreSecrets {
  tls: { certFile: string; keyFile: string; caFile: string };
  users: { admin: string; ops: string };
}

const FOLDER = 'secrets';
const [AUTHORITY, CERTIFICATE, KEY, USERS] = ['ca.crt', 'node.crt', 'node.key', 'users.json'] as const;
/** The file with the mark of the folder in which the secrets were made. */
const PLACE = 'folder';
const YEARS_GOOD = 100;

/**
 * Returns the secrets of the store in this folder. They are made again if they are missing, or were copied with another folder.
 * @throws EmbeddedStoreError STORE_TLS_UNUSABLE, which names the damaged file
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
    const hint = `remove the folder ${place}, and the next start makes these secrets again: no event depends on them`;
    throw new EmbeddedStoreError('STORE_TLS_UNUSABLE', `${(error as Error).message}; ${hint}`, { cause: error });
  }
}

/** Tells whether the secrets were made in this folder. */
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
      [PLACE]: folderMark(incoming),
    };
    for (const [name, content] of Object.entries(contents)) writeFileSync(join(incoming, name), `${content}\n`);
    rmSync(place, { recursive: true, force: true });
    renameSync(incoming, place); // moves all of the secrets, or none
  });
}

function newPassword(): string {
  return randomBytes(32).toString('base64url');
}

/** Makes an authority that signs one certificate. The authority's key is dropped afterwards. */
async function makeCertificates(): Promise<{ authority: string } & Signed> {
  const days = YEARS_GOOD * 365;
  const authority = await newAuthority('Espalier event store authority', days);
  const wish = { subject: 'localhost', names: ['localhost', '127.0.0.1'], use: 'server', days } as const;
  return { authority: authority.certificate, ...(await signedBy(authority, wish)) };
}
