// Writes a bundle as a stream of chunks. Memory holds at most one entry of events.
import { createHash } from 'node:crypto';
import { canonicalJson, sha256Hex } from './canonical-json.js';
import {
  artifactEntry,
  encodeEventLine,
  eventsEntry,
  EVENTS_PER_ENTRY,
  MANIFEST_DIGEST_ENTRY,
  MANIFEST_ENTRY,
  metricsEntry,
  RECORD_ENTRY,
  type BundleManifest,
} from './bundle-format.js';
import type { RawEvent } from './history-checker.js';
import { TAR_END, tarEntry, tarHeader, tarPadding } from './tar.js';

export interface BundleSource {
  runs: { runId: string; events: AsyncIterable<RawEvent>; metrics: AsyncIterable<RawEvent> }[];
  artifacts: { digest: string; bytes: number; open(): AsyncIterable<Uint8Array> | Iterable<Uint8Array> }[];
  /** Called after all other parts have been read. */
  manifest(): Omit<BundleManifest, 'entries'>;
  /** A page for people. */
  record(): string;
}

export async function* writeBundle(source: BundleSource): AsyncGenerator<Uint8Array> {
  const entries: BundleManifest['entries'] = [];
  const whole = function* (name: string, content: Uint8Array): Iterable<Uint8Array> {
    entries.push({ name, bytes: content.byteLength, digest: sha256Hex(content) });
    yield* tarEntry(name, content);
  };
  for (const { runId, events, metrics } of source.runs) {
    for await (const { index, lines } of grouped(events)) yield* whole(eventsEntry(runId, index), lines);
    for await (const { index, lines } of grouped(metrics)) yield* whole(metricsEntry(runId, index), lines);
  }
  for (const { digest, bytes, open } of source.artifacts) {
    const hash = createHash('sha256');
    yield tarHeader(artifactEntry(digest), bytes);
    for await (const chunk of open()) {
      hash.update(chunk);
      yield chunk;
    }
    yield tarPadding(bytes);
    entries.push({ name: artifactEntry(digest), bytes, digest: hash.digest('hex') });
  }
  yield* whole(RECORD_ENTRY, Buffer.from(source.record(), 'utf8'));
  const manifest = Buffer.from(`${canonicalJson({ ...source.manifest(), entries } satisfies BundleManifest)}\n`, 'utf8');
  yield* tarEntry(MANIFEST_ENTRY, manifest);
  yield* tarEntry(MANIFEST_DIGEST_ENTRY, Buffer.from(`${sha256Hex(manifest)}\n`, 'latin1'));
  yield TAR_END;
}

async function* grouped(events: AsyncIterable<RawEvent>): AsyncGenerator<{ index: number; lines: Buffer }> {
  let lines: string[] = [];
  let index = 0;
  for await (const event of events) {
    lines.push(encodeEventLine(event));
    if (lines.length < EVENTS_PER_ENTRY) continue;
    yield { index, lines: Buffer.from(lines.join(''), 'utf8') };
    lines = [];
    index += 1;
  }
  if (lines.length > 0) yield { index, lines: Buffer.from(lines.join(''), 'utf8') };
}
