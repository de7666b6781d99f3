// The certificate and the key of a server with TLS, looked at before it listens: what is damaged is named by its file.
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readUserFileSync } from '#files';
import { StoreError } from './store-error.js';

const PEM_BYTES_MAX = 1 << 20;

export interface TlsPair {
  certificate: Buffer;
  key: Buffer;
}

/** @throws StoreError STORE_TLS_UNUSABLE */
export function readTlsPair({ certFile, keyFile }: { certFile: string; keyFile: string }): TlsPair {
  const certificate = readPem(certFile, 'certificate', (pem) => new X509Certificate(pem));
  const key = readPem(keyFile, 'private key', (pem): KeyObject => createPrivateKey(pem));
  if (!certificate.value.checkPrivateKey(key.value)) {
    throw new StoreError('STORE_TLS_UNUSABLE', `${keyFile} is not the private key of the certificate ${certFile}`);
  }
  return { certificate: certificate.pem, key: key.pem };
}

/** @throws StoreError STORE_TLS_UNUSABLE */
export function readCertificate(file: string): X509Certificate {
  return readPem(file, 'certificate', (pem) => new X509Certificate(pem)).value;
}

function readPem<T>(file: string, what: string, parse: (pem: Buffer) => T): { pem: Buffer; value: T } {
  try {
    const pem = readUserFileSync(file, PEM_BYTES_MAX);
    return { pem, value: parse(pem) };
  } catch (error) {
    throw new StoreError('STORE_TLS_UNUSABLE', `${file} holds no ${what} that can be used: ${(error as Error).message}`, { cause: error });
  }
}
