// Answers ExportAudit: writes the stores' contents of a run and its ancestors as one bundle.
import { HistoryChecker, writeBundle, type BundleManifest, type BundleRun, type BundleSource, type RawEvent } from '#audit';
import type { ArtifactStore } from '#artifact-store';
import type { EventStore, StoredEvent } from '#event-store';
import { encodeSliceList, type Slice } from '#files';
import { counted, EspalierError, type v1 } from '#protocol';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { RecordedEvent } from '../pruning-run/record/pruning-run.events.js';
import { neededStates, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { decodeStored, metricsStream, runStream } from '../pruning-run/record/stored-event.js';
import { ancestorsOf } from '../queries/lineage.js';
import { recordPage } from './record-page.js';
import { ReplayPlanner } from './replay/replay-plan.js';
import type { VerifyContext } from './verify-context.js';

const MAX_CHUNK_BYTES = 1 << 20;

/** @param requireAllowed throws where the caller may not read the record of a run as it is */
export async function* exportAudit(
  { views, store, artifacts }: VerifyContext,
  request: v1.ExportAuditRequest,
  signal: AbortSignal,
  requireAllowed: (run: PruningRunState) => void,
): AsyncGenerator<v1.ExportAuditResponse> {
  const runId = await views.runId(request.runId);
  const sources = await sourcesOf(store, runId, ancestorsOf(views, runId), signal);
  const [youngest] = sources;
  const { run } = youngest;
  for (const source of sources) requireAllowed(source.run);
  const snapshots = request.includeSnapshots ? await snapshotsOf(artifacts, run) : { found: [], missing: [] };
  const createdAt = new Date().toISOString();
  const chunks = writeBundle({
    runs: sources.map((source) => ({ runId: source.runId, events: source.events(), metrics: source.metrics() })),
    artifacts: snapshots.found,
    manifest: () => manifestOf(sources, createdAt, request.includeSnapshots, snapshots.missing),
    record: () => recordPage(run, youngest.engines, youngest.checker.instructions, createdAt),
  });
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.byteLength; start += MAX_CHUNK_BYTES) {
      yield { chunk: Buffer.from(chunk.subarray(start, start + MAX_CHUNK_BYTES)) };
    }
  }
}

/** Reads each history once beforehand, so that the bundle shows one moment even if the run goes on. */
async function sourcesOf(store: EventStore, runId: string, ancestors: string[], signal: AbortSignal): Promise<BundleSources> {
  const prepared = async (owner: string, upTo: number | null): Promise<RunSource> => {
    const source = new RunSource(store, owner, upTo);
    await source.prepare(signal);
    return source;
  };
  const sources: BundleSources = [await prepared(runId, null)];
  for (const owner of ancestors) sources.push(await prepared(owner, sources.at(-1)?.run.origin?.parentRevision ?? null));
  return sources;
}

/** The run and its ancestors, the youngest first. */
type BundleSources = [RunSource, ...RunSource[]];

class RunSource {
  readonly checker: HistoryChecker;
  readonly engines: BundleManifest['engines'] = [];
  metricsEvents = 0;
  private readonly planner = new ReplayPlanner();
  private lastRevision = -1;
  private lastMetrics = -1n;

  constructor(
    private readonly store: EventStore,
    readonly runId: string,
    private readonly upTo: number | null,
  ) {
    this.checker = new HistoryChecker(runId);
  }

  get run(): PruningRunState {
    return this.planner.run!;
  }

  get bundleRun(): BundleRun {
    return { runId: this.runId, lastRevision: this.lastRevision, chain: this.checker.chain, metricsEvents: this.metricsEvents };
  }

  /** Reads the history. Metrics after the last batch that these events name are left out. */
  async prepare(signal: AbortSignal): Promise<void> {
    for await (const stored of this.readEvents(this.upTo)) {
      signal.throwIfAborted();
      this.checker.push(stored);
      const event = readable(stored);
      if (event !== null) this.planner.push(event, Number(stored.revision));
      if (event?.type === 'EngineAttached') {
        const { attempt, backend, device, threads, engineVersion, engineBuild, numericsFingerprint } = event.data;
        this.engines.push({
          attempt,
          engine: `${backend} ${device}, ${counted(threads, 'thread')}, ${engineVersion} ${engineBuild}`,
          numericsFingerprint,
        });
      }
      this.lastRevision = Number(stored.revision);
    }
    if (this.planner.run === null) throw runNotFound(this.runId);
    this.lastMetrics = this.checker.batches.reduce(
      (last, { metricsRevision }) => (BigInt(metricsRevision) > last ? BigInt(metricsRevision) : last),
      -1n,
    );
  }

  async *events(): AsyncGenerator<RawEvent> {
    yield* this.readEvents(this.lastRevision);
  }

  async *metrics(): AsyncGenerator<RawEvent> {
    for await (const stored of this.store.read(metricsStream(this.runId))) {
      if (stored.revision > this.lastMetrics) return;
      this.metricsEvents += 1;
      yield stored;
    }
  }

  private async *readEvents(upTo: number | null): AsyncGenerator<StoredEvent> {
    for await (const stored of this.store.read(runStream(this.runId))) {
      if (upTo !== null && stored.revision > BigInt(upTo)) return;
      yield stored;
    }
  }
}

function readable(stored: StoredEvent): RecordedEvent | null {
  try {
    return decodeStored(stored);
  } catch {
    return null; // the event goes into the bundle as it is, and a check of the bundle reports it
  }
}

function manifestOf(
  sources: BundleSources,
  createdAt: string,
  includesSnapshots: boolean,
  missingSnapshots: string[],
): Omit<BundleManifest, 'entries'> {
  const [{ run, checker }] = sources;
  return {
    espalierAudit: 1,
    runId: run.runId,
    createdAt,
    createdBy: 'espalier',
    runs: sources.map(({ bundleRun }) => bundleRun),
    weightsDigest: run.model.weightsDigest,
    dataDigests: [...checker.dataDigests],
    recipe: run.settings,
    engines: sources.flatMap(({ engines }) => engines),
    stateDigest: run.current?.stateDigest ?? '',
    includesSnapshots,
    missingSnapshots,
  };
}

/** All states that the run still needs. */
async function snapshotsOf(
  artifacts: ArtifactStore,
  run: PruningRunState,
): Promise<{ found: BundleSource['artifacts']; missing: string[] }> {
  const found = new Map<string, BundleSource['artifacts'][number]>();
  const missing: string[] = [];
  for (const digest of [...neededStates(run)].sort()) {
    const stat = await artifacts.stat(digest);
    if (stat === null) missing.push(digest);
    else if ((await artifacts.verify(digest)) === 'ok') {
      const slices = await artifacts.slicesOf(digest);
      if (slices === null) found.set(digest, { digest, bytes: stat.bytes, open: () => artifacts.open(digest) });
      else for (const one of inSlices(artifacts, digest, slices)) found.set(one.digest, one);
    } else
      throw new EspalierError('ARTIFACT_CORRUPT', `artifact ${digest} is damaged: a bundle with it would prove nothing`, {
        metadata: { digest },
      });
  }
  return { found: [...found.values()], missing };
}

/** The list of the slices has the state's digest; equal slices are one entry. */
function inSlices(artifacts: ArtifactStore, digest: string, slices: readonly Slice[]): BundleSource['artifacts'] {
  const list = Buffer.from(encodeSliceList(slices));
  return [
    { digest, bytes: list.byteLength, open: () => [list] },
    ...slices.map((slice) => ({ ...slice, open: () => artifacts.openSlice(digest, slice.digest) })),
  ];
}
