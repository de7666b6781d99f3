// Signs the manifest's bytes with Ed25519. Keys are PEM files as openssl and ssh tools make them; they are only read.
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { userFileChunks } from '#files';
import { MANIFEST_ENTRY, SIGNATURE_ENTRY, type BundleSignature } from './bundle-format.js';
import { canonicalJson } from './canonical-json.js';
import { readTar, TAR_END, tarEntry } from './tar.js';

const SPKI_LEAD = Buffer.from('302a300506032b6570032100', 'hex');

function signManifest(manifest: Uint8Array, privateKeyPem: string): BundleSignature {
  const key = createPrivateKey(privateKeyPem);
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError(`an ed25519 key is needed, not ${String(key.asymmetricKeyType)}`);
  return { algorithm: 'ed25519', publicKey: rawPublicKey(createPublicKey(key)), signature: sign(null, manifest, key).toString('hex') };
}

/** Adds the signature to a finished, unsigned bundle. */
export async function signAuditBundle(file: string, privateKeyPem: string): Promise<BundleSignature> {
  let manifest: Buffer | null = null;
  for await (const { name, content } of readTar(userFileChunks(file))) {
    if (name === SIGNATURE_ENTRY) throw new TypeError('the bundle is signed already');
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) if (name === MANIFEST_ENTRY) chunks.push(chunk);
    if (name === MANIFEST_ENTRY) manifest = Buffer.concat(chunks);
  }
  if (manifest === null) throw new TypeError('the bundle has no manifest');
  const signature = signManifest(manifest, privateKeyPem);
  const handle = await open(file, 'r+');
  try {
    const end = (await handle.stat()).size - TAR_END.byteLength;
    const tail = Buffer.concat([...tarEntry(SIGNATURE_ENTRY, Buffer.from(`${canonicalJson(signature)}\n`, 'latin1')), TAR_END]);
    await handle.write(tail, 0, tail.byteLength, end);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return signature;
}

export function signatureHolds(manifest: Uint8Array, { algorithm, publicKey, signature }: BundleSignature): boolean {
  if (algorithm !== 'ed25519' || !/^[0-9a-f]{64}$/.test(publicKey) || !/^[0-9a-f]{128}$/.test(signature)) return false;
  const key = createPublicKey({ key: Buffer.concat([SPKI_LEAD, Buffer.from(publicKey, 'hex')]), format: 'der', type: 'spki' });
  return verify(null, manifest, key, Buffer.from(signature, 'hex'));
}

/** Returns the key in hexadecimal, from the text of a PEM file or from 64 hex digits. */
export function publicKeyHex(text: string): string {
  const trimmed = text.trim();
  return /^[0-9a-f]{64}$/i.test(trimmed) ? trimmed.toLowerCase() : rawPublicKey(createPublicKey(trimmed));
}

function rawPublicKey(key: KeyObject): string {
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError(`an ed25519 key is needed, not ${String(key.asymmetricKeyType)}`);
  return key.export({ format: 'der', type: 'spki' }).subarray(SPKI_LEAD.byteLength).toString('hex');
}
