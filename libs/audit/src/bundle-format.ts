// An audit bundle is a tar file: events and metrics of the run and its ancestors as stored, optionally snapshots, a page
// for people, and last the manifest, which names every entry before it by digest, and what proves the manifest.
import type { RawEvent } from './history-checker.js';
import { TAR_BLOCK, tarHeader } from './tar.js';

export const BUNDLE_VERSION = 1;
export const RECORD_ENTRY = 'record.md';
export const MANIFEST_ENTRY = 'manifest.json';
export const MANIFEST_DIGEST_ENTRY = 'manifest.sha256';
export const SIGNATURE_ENTRY = 'signature.json';
export const EVENTS_PER_ENTRY = 1000;

export const eventsEntry = (runId: string, index: number): string => `events/${runId}/${String(index).padStart(6, '0')}.jsonl`;
export const metricsEntry = (runId: string, index: number): string => `metrics/${runId}/${String(index).padStart(6, '0')}.jsonl`;
export const artifactEntry = (digest: string): string => `artifacts/${digest}`;

/** Whether a file begins as every bundle does: with the first events of a run, under a header that only we write so. */
export function isAuditBundle(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, TAR_BLOCK)).toString('latin1');
  const name = /^events\/[a-z0-9]+\/000000\.jsonl(?=\0)/.exec(text)?.[0];
  const bytes = parseInt(text.slice(124, 135), 8);
  if (name === undefined || text.length < TAR_BLOCK || !(bytes >= 0)) return false;
  return Buffer.compare(tarHeader(name, bytes), Buffer.from(text, 'latin1')) === 0;
}

export interface BundleRun {
  runId: string;
  /** Last revision in the bundle: of the run itself its last, of an ancestor the one that its heir was forked at. */
  lastRevision: number;
  /** Digest chain at that revision. */
  chain: string;
  /** Number of events of its metrics stream in the bundle. */
  metricsEvents: number;
}

export interface BundleManifest {
  espalierAudit: typeof BUNDLE_VERSION;
  runId: string;
  createdAt: string;
  createdBy: string;
  /** The run first, then its ancestors, nearest first. */
  runs: BundleRun[];
  /** The model and the data of the run. */
  weightsDigest: string;
  dataDigests: string[];
  recipe: unknown;
  engines: { attempt: number; engine: string; numericsFingerprint: string }[];
  stateDigest: string;
  includesSnapshots: boolean;
  /** Snapshots that were asked for and are not in the store any more. */
  missingSnapshots: string[];
  /** In the order of the file. */
  entries: { name: string; bytes: number; digest: string }[];
}

export interface BundleSignature {
  algorithm: 'ed25519';
  /** Raw key, hex. */
  publicKey: string;
  /** The signature over the manifest's bytes, hex. */
  signature: string;
}

/** The stored bytes as text where they are text, so that people can read them, and in base64 where they are not. */
export function encodeEventLine(event: RawEvent): string {
  const text = Buffer.from(event.data).toString('utf8');
  const faithful = Buffer.compare(Buffer.from(text, 'utf8'), event.data) === 0;
  const data = faithful ? { data: text } : { dataBase64: Buffer.from(event.data).toString('base64') };
  return `${JSON.stringify({ revision: Number(event.revision), id: event.id, type: event.type, ...data })}\n`;
}

/** @throws SyntaxError */
export function decodeEventLine(line: string): RawEvent {
  const { revision, id, type, data, dataBase64 } = JSON.parse(line) as Record<string, unknown>;
  if (typeof revision !== 'number' || !Number.isSafeInteger(revision) || typeof id !== 'string' || typeof type !== 'string')
    throw new SyntaxError('not an event');
  if (typeof data !== 'string' && typeof dataBase64 !== 'string') throw new SyntaxError('an event without data');
  return {
    revision: BigInt(revision),
    id,
    type,
    data: typeof data === 'string' ? Buffer.from(data, 'utf8') : Buffer.from(String(dataBase64), 'base64'),
  };
}
