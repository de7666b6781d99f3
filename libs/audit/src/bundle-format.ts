// An audit bundle is a tar file. It holds the stored events and metrics of the run and its ancestors, optionally snapshots, and a page for
// people. At the end come the manifest, which names every entry before it by digest, and the proofs of the manifest.
import type { RawEvent } from './history-checker.js';
import { TAR_BLOCK, tarHeader } from './tar.js';

export const RECORD_ENTRY = 'record.md';
export const MANIFEST_ENTRY = 'manifest.json';
export const MANIFEST_DIGEST_ENTRY = 'manifest.sha256';
export const SIGNATURE_ENTRY = 'signature.json';
export const EVENTS_PER_ENTRY = 1000;

export const eventsEntry = (runId: string, index: number): string => `events/${runId}/${String(index).padStart(6, '0')}.jsonl`;
export const metricsEntry = (runId: string, index: number): string => `metrics/${runId}/${String(index).padStart(6, '0')}.jsonl`;
export const artifactEntry = (digest: string): string => `artifacts/${digest}`;

/** Tells whether a file begins as every bundle does: with the first events of a run, under a tar header as only Espalier writes it. */
export function isAuditBundle(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, TAR_BLOCK)).toString('latin1');
  const name = /^events\/[a-z0-9]+\/000000\.jsonl(?=\0)/.exec(text)?.[0];
  const bytes = parseInt(text.slice(124, 135), 8);
  if (name === undefined || text.length < TAR_BLOCK || !(bytes >= 0)) return false;
  return Buffer.compare(tarHeader(name, bytes), Buffer.from(text, 'latin1')) === 0;
}

export interface BundleRun {
  runId: string;
  /**
   * The last revision in the bundle. For the run itself it is the run's last; for an ancestor, the revision that its heir was forked at.
   */
  lastRevision: number;
  /** The digest chain at that revision. */
  chain: string;
  /** The number of events of the run's metrics stream in the bundle. */
  metricsEvents: number;
}

export interface BundleManifest {
  espalierAudit: 1; // the version of the format
  runId: string;
  createdAt: string;
  createdBy: string;
  /** The run, then its ancestors, the nearest first. */
  runs: BundleRun[];
  /** The SHA-256 of the run's model; `dataDigests` are those of its data. */
  weightsDigest: string;
  dataDigests: string[];
  recipe: unknown;
  engines: { attempt: number; engine: string; numericsFingerprint: string }[];
  stateDigest: string;
  includesSnapshots: boolean;
  /** The snapshots that were asked for and are no longer in the store. */
  missingSnapshots: string[];
  /** The entries in the order of the file. */
  entries: { name: string; bytes: number; digest: string }[];
}

export interface BundleSignature {
  algorithm: 'ed25519';
  /** The raw key in hexadecimal. */
  publicKey: string;
  /** The signature of the manifest's bytes, in hexadecimal. */
  signature: string;
}

/** Encodes an event on a line. Its bytes stand there as text if they are text, so that people can read them, or else in base64. */
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
