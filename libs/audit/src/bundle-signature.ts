// Ed25519 over the manifest's bytes. The key stays where it is: PEM files as openssl and ssh tools make them.
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import type { BundleSignature } from './bundle-format.js';

const SPKI_LEAD = Buffer.from('302a300506032b6570032100', 'hex');

export function signManifest(manifest: Uint8Array, privateKeyPem: string): BundleSignature {
  const key = createPrivateKey(privateKeyPem);
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError(`an ed25519 key is needed, not ${String(key.asymmetricKeyType)}`);
  return { algorithm: 'ed25519', publicKey: rawPublicKey(createPublicKey(key)), signature: sign(null, manifest, key).toString('hex') };
}

export function signatureHolds(manifest: Uint8Array, { algorithm, publicKey, signature }: BundleSignature): boolean {
  if (algorithm !== 'ed25519' || !/^[0-9a-f]{64}$/.test(publicKey) || !/^[0-9a-f]{128}$/.test(signature)) return false;
  const key = createPublicKey({ key: Buffer.concat([SPKI_LEAD, Buffer.from(publicKey, 'hex')]), format: 'der', type: 'spki' });
  return verify(null, manifest, key, Buffer.from(signature, 'hex'));
}

/** Of a PEM file or of 64 hex digits. */
export function publicKeyHex(text: string): string {
  const trimmed = text.trim();
  return /^[0-9a-f]{64}$/i.test(trimmed) ? trimmed.toLowerCase() : rawPublicKey(createPublicKey(trimmed));
}

function rawPublicKey(key: KeyObject): string {
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError(`an ed25519 key is needed, not ${String(key.asymmetricKeyType)}`);
  return key.export({ format: 'der', type: 'spki' }).subarray(SPKI_LEAD.byteLength).toString('hex');
}
