// Reads the certificate and the key of a server with TLS, and checks them before they are used. Errors name the damaged file.
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readUserFileSync } from '#files';

const PEM_BYTES_MAX = 1 << 20;

export interface TlsPair {
  certificate: Buffer;
  key: Buffer;
}

/** @param read reads the key's file, if other rules than the certificate's hold for it. @throws Error that names the file */
export function readTlsPair(
  { certFile, keyFile }: { certFile: string; keyFile: string },
  read: (file: string, limitBytes: number) => Buffer = readUserFileSync,
): TlsPair {
  const certificate = readPem(certFile, 'certificate', (pem) => new X509Certificate(pem));
  const key = readPem(keyFile, 'private key', (pem): KeyObject => createPrivateKey(pem), read);
  if (!certificate.value.checkPrivateKey(key.value)) throw new Error(`${keyFile} is not the private key of the certificate ${certFile}`);
  return { certificate: certificate.pem, key: key.pem };
}

/** Returns the first certificate of the file. @throws Error that names the file */
export function readCertificate(file: string): X509Certificate {
  return readPem(file, 'certificate', (pem) => new X509Certificate(pem)).value;
}

/** Returns the whole file, if its first certificate can be used. @throws Error that names the file */
export function readCertificatePem(file: string): Buffer {
  return readPem(file, 'certificate', (pem) => new X509Certificate(pem)).pem;
}

/**
 * Returns only the certificates of a file, without a key or other text beside them, so that they can be passed on. @throws Error that names
 * the file
 */
export function readCertificatesOnly(file: string): string {
  const certificates = readCertificatePem(file)
    .toString('latin1')
    .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (certificates === null) throw new Error(`${file} holds no certificate in PEM`);
  return `${certificates.join('\n')}\n`;
}

function readPem<T>(file: string, what: string, parse: (pem: Buffer) => T, read = readUserFileSync): { pem: Buffer; value: T } {
  try {
    const pem = read(file, PEM_BYTES_MAX);
    return { pem, value: parse(pem) };
  } catch (error) {
    throw new Error(`${file} holds no ${what} that can be used: ${(error as Error).message}`, { cause: error });
  }
}
