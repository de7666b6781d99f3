// Checks a bundle without server, store or network. It computes all facts of the bundle again from the bundle's bytes.
import { createHash } from 'node:crypto';
import { decodeSliceList, SLICE_LIST_BYTES_MAX, userFileChunks, type Slice } from '#files';
import { canonicalJson, sha256Hex } from './canonical-json.js';
import {
  decodeEventLine,
  MANIFEST_DIGEST_ENTRY,
  MANIFEST_ENTRY,
  RECORD_ENTRY,
  SIGNATURE_ENTRY,
  type BundleManifest,
  type BundleSignature,
} from './bundle-format.js';
import { signatureHolds } from './bundle-signature.js';
import { CAN_BE_CHECKED } from './event-schemas.js';
import { HistoryChecker, type CheckName, type Instruction, type Problem } from './history-checker.js';
import { MetricsChecker } from './metrics-checker.js';
import { lineageProblems } from './lineage-checker.js';
import { replaySummary, type ReplaySummary } from './replayed-steps.js';
import { readTar, TarDamage, type TarEntry } from './tar.js';

export interface BundleReport {
  ok: boolean;
  problems: Problem[];
  manifest: BundleManifest | null;
  runs: {
    runId: string;
    events: number;
    metricsEvents: number;
    steps: number;
    /** The steps without those before a fork. */
    ownSteps: number;
    rewinds: number;
    unknownEvents: number;
    replays: ReplaySummary;
  }[];
  artifacts: number;
  /** For the run itself: which teacher taught from which step on, and why. */
  instructions: Instruction[];
  signature: 'none' | 'valid' | 'invalid';
  /** The signer's public key in hexadecimal. The bundle does not say who owns the key. */
  publicKey: string;
}

export interface CheckOptions {
  /** The key (64 hex digits) that must have signed the bundle; undefined: any key, or none. */
  publicKey?: string;
  signal?: AbortSignal;
}

/** The largest entry of events or metrics. Such an entry is read whole; bundles of Espalier have entries of a few megabytes. */
const ENTRY_BYTES_MAX = 256 << 20;

/** @throws UserFileError if the file can't be read */
export async function checkAuditBundle(file: string, options: CheckOptions = {}): Promise<BundleReport> {
  return new BundleChecker(options).check(userFileChunks(file, options.signal));
}

class BundleChecker {
  private readonly problems: Problem[] = [];
  private readonly histories = new Map<string, HistoryChecker>();
  private readonly metrics = new Map<string, MetricsChecker>();
  private readonly found: BundleManifest['entries'] = [];
  private manifestBytes: Buffer | null = null;
  private manifestDigest = '';
  private signature: BundleSignature | null = null;
  private readonly artifacts = new Set<string>();
  /** The slices that lists of the bundle name, by the digest of the list. */
  private readonly slices = new Map<string, Slice[]>();

  constructor(private readonly options: CheckOptions) {}

  async check(source: AsyncIterable<Uint8Array>): Promise<BundleReport> {
    try {
      for await (const entry of readTar(source)) await this.checkEntry(entry);
    } catch (error) {
      if (!(error instanceof TarDamage)) throw error;
      this.report('file', 'bundle', error.message);
    }
    const manifest = this.readManifest();
    if (manifest !== null) this.checkManifest(manifest);
    this.checkSlices();
    const signed = this.checkSignature();
    for (const checker of this.metrics.values()) {
      checker.finish();
      this.takeProblems(checker);
    }
    for (const checker of this.histories.values()) this.takeProblems(checker);
    return {
      ok: this.problems.length === 0,
      problems: this.problems,
      manifest,
      runs: this.runReports(),
      artifacts: this.artifacts.size - new Set([...this.slices.values()].flat().map(({ digest }) => digest)).size,
      instructions: (manifest === null ? undefined : this.histories.get(manifest.runId))?.instructions ?? [],
      signature: signed,
      publicKey: this.signature?.publicKey ?? '',
    };
  }

  /** Copies the problems one by one: a hostile bundle may have any number of them. */
  private takeProblems(checker: { problems: readonly Problem[] }): void {
    for (const problem of checker.problems) this.problems.push(problem);
  }

  private async checkEntry(entry: TarEntry): Promise<void> {
    const [folder, owner = ''] = entry.name.split('/');
    if (folder === 'artifacts') return this.takeArtifact(entry, owner);
    if (entry.bytes > ENTRY_BYTES_MAX)
      throw new TarDamage(`entry ${entry.name} has ${entry.bytes} bytes; at most ${ENTRY_BYTES_MAX} are allowed`);
    const content = await collect(entry.content);
    switch (entry.name) {
      case MANIFEST_ENTRY:
        this.manifestBytes = content;
        return;
      case MANIFEST_DIGEST_ENTRY:
        this.manifestDigest = content.toString('latin1');
        return;
      case SIGNATURE_ENTRY:
        this.takeSignature(content);
        return;
      default:
    }
    this.found.push({ name: entry.name, bytes: content.byteLength, digest: sha256Hex(content) });
    if (folder === 'events') this.takeEvents(content, entry.name, this.historyOf(owner));
    else if (folder === 'metrics') this.takeEvents(content, entry.name, this.metricsOf(owner));
    else if (entry.name !== RECORD_ENTRY) this.report('file', `entry ${entry.name}`, 'no bundle has such an entry');
  }

  private async takeArtifact(entry: TarEntry, digest: string): Promise<void> {
    const hash = createHash('sha256');
    const mayBeList = entry.bytes <= SLICE_LIST_BYTES_MAX;
    const kept: Uint8Array[] = [];
    for await (const chunk of entry.content) {
      hash.update(chunk);
      if (mayBeList) kept.push(chunk);
    }
    const actual = hash.digest('hex');
    const slices = mayBeList ? decodeSliceList(Buffer.concat(kept).toString('latin1')) : null;
    if (slices !== null) this.slices.set(digest, slices);
    this.artifacts.add(digest);
    this.found.push({ name: entry.name, bytes: entry.bytes, digest: actual });
    if (actual !== digest) this.report('artifacts', `artifact ${digest}`, `its bytes have digest ${actual}`);
  }

  private checkSlices(): void {
    for (const [state, slices] of this.slices)
      for (const { digest } of slices)
        if (!this.artifacts.has(digest)) this.report('artifacts', `artifact ${state}`, `its slice ${digest} is not in the bundle`);
  }

  private takeEvents(content: Buffer, name: string, checker: HistoryChecker | MetricsChecker): void {
    const lines = content.toString('utf8').split('\n');
    if (lines.pop() !== '') this.report('file', `entry ${name}`, 'its last line is cut off');
    lines.forEach((line, index) => {
      try {
        checker.push(decodeEventLine(line));
      } catch (error) {
        this.report('file', `entry ${name} line ${index + 1}`, `this is not an event: ${(error as Error).message}`);
      }
    });
  }

  private historyOf(runId: string): HistoryChecker {
    const checker = this.histories.get(runId) ?? new HistoryChecker(runId);
    this.histories.set(runId, checker);
    return checker;
  }

  /** Returns the checker of a run's metrics. The metrics come after the run's events, so all batches are known. */
  private metricsOf(runId: string): MetricsChecker {
    const checker = this.metrics.get(runId) ?? new MetricsChecker(runId, this.histories.get(runId) ?? { batches: [], gates: 0 });
    this.metrics.set(runId, checker);
    return checker;
  }

  private takeSignature(content: Buffer): void {
    try {
      const signature = JSON.parse(content.toString('latin1')) as BundleSignature;
      if (content.toString('latin1') !== `${canonicalJson(signature)}\n`) throw new SyntaxError('not canonical');
      this.signature = signature;
    } catch (error) {
      this.signature = { algorithm: 'ed25519', publicKey: '', signature: '' };
      this.report('signature', SIGNATURE_ENTRY, `not readable: ${(error as Error).message}`);
    }
  }

  private readManifest(): BundleManifest | null {
    if (this.manifestBytes === null) {
      this.report('file', MANIFEST_ENTRY, 'missing: the bundle is not whole');
      return null;
    }
    const digest = sha256Hex(this.manifestBytes);
    if (this.manifestDigest !== `${digest}\n`)
      this.report('file', MANIFEST_ENTRY, `its digest is ${digest}, ${MANIFEST_DIGEST_ENTRY} says ${this.manifestDigest.trim()}`);
    try {
      const manifest = JSON.parse(this.manifestBytes.toString('utf8')) as BundleManifest;
      if (manifest.espalierAudit !== 1)
        this.report('file', MANIFEST_ENTRY, `bundle version ${String(manifest.espalierAudit)} (1 is known): ${CAN_BE_CHECKED}`);
      return Array.isArray(manifest.entries) && Array.isArray(manifest.runs) ? manifest : null;
    } catch {
      return null; // the manifest's digest does not fit either, and that is reported
    }
  }

  private checkManifest(manifest: BundleManifest): void {
    const named = new Map(manifest.entries.map((entry) => [entry.name, entry]));
    for (const { name, bytes, digest } of this.found) {
      const entry = named.get(name);
      if (entry === undefined) this.report('file', `entry ${name}`, 'the manifest does not name it');
      else if (entry.digest !== digest || entry.bytes !== bytes)
        this.report('file', `entry ${name}`, `its digest is ${digest}, the manifest says ${entry.digest}`);
      named.delete(name);
    }
    for (const name of named.keys()) this.report('file', `entry ${name}`, 'missing, though the manifest names it');
    for (const { runId, lastRevision, chain, metricsEvents } of manifest.runs) {
      const history = this.histories.get(runId);
      if (history === undefined || history.events !== lastRevision + 1) {
        this.report('contiguity', `run ${runId}`, `${history?.events ?? 0} events are here, the manifest says ${lastRevision + 1}`);
      } else if (history.chain !== chain) {
        this.report('chain', `run ${runId}`, `its chain ends in ${history.chain}, the manifest says ${chain}`);
      }
      const measured = this.metricsOf(runId).events;
      if (measured !== metricsEvents)
        this.report('metrics', `metrics of run ${runId}`, `${measured} events are here, the manifest says ${metricsEvents}`);
    }
    this.problems.push(
      ...lineageProblems(
        manifest.runs.map(({ runId }) => runId),
        this.histories,
      ),
    );
  }

  private checkSignature(): BundleReport['signature'] {
    const wanted = this.options.publicKey;
    if (this.signature === null) {
      if (wanted !== undefined) this.report('signature', 'bundle', 'it is not signed');
      return 'none';
    }
    const holds = this.manifestBytes !== null && signatureHolds(this.manifestBytes, this.signature);
    if (!holds) this.report('signature', SIGNATURE_ENTRY, 'the signature does not fit the manifest');
    else if (wanted !== undefined && this.signature.publicKey !== wanted) {
      this.report('signature', SIGNATURE_ENTRY, `it was signed with key ${this.signature.publicKey}, not ${wanted}`);
      return 'invalid';
    }
    return holds ? 'valid' : 'invalid';
  }

  private runReports(): BundleReport['runs'] {
    return [...this.histories].map(([runId, history]) => ({
      runId,
      events: history.events,
      metricsEvents: this.metrics.get(runId)?.events ?? 0,
      steps: history.step,
      ownSteps: history.step - history.forkedAt,
      rewinds: history.rewinds,
      replays: replaySummary(history.replays),
      unknownEvents: [...history.unknownTypes.values()].reduce((sum, count) => sum + count, 0),
    }));
  }

  private report(check: CheckName, subject: string, detail: string): void {
    this.problems.push({ check, subject, detail });
  }
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}
