// For tests: a run's record and an artifact store in memory, and slots whose engines follow a script. The real repository and recorder make
// the record.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ArtifactStore } from '#artifact-store';
import { WrongExpectedRevisionError, type EventStore, type NewEvent, type StoredEvent } from '#event-store';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { EngineSlot } from '../engine-pool/engine-slot.js';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from '../engines/testing.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { isFinished, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { decodeStored, encodeFacts, runStream } from '../pruning-run/record/stored-event.js';
import { launched } from '../pruning-run/testing.js';
import { LiveProgress } from '../live/live-progress.js';
import { Tallies } from '../monitoring/tallies.js';
import type { AttemptParts } from './attempt-parts.js';
import { SegmentRecorder } from './recording/segment-recorder.js';
import { inTurn } from '../hours/turns.js';
import { RunDriver } from './run-driver.js';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
const FAST = { healthIntervalMs: 1, intervalAfterMissMs: 1, healthTimeoutMs: 1_000, firstDelayMs: 1 };

/** Event streams in memory. An append checks the expected revision. */
class MemoryStore {
  private readonly streams = new Map<string, StoredEvent[]>();
  onAppend: (stream: string) => void = () => undefined;

  eventsOf(stream: string): StoredEvent[] {
    return this.streams.get(stream) ?? [];
  }

  append(stream: string, events: NewEvent[], expected: unknown): Promise<{ revision: bigint }> {
    const before = this.eventsOf(stream);
    const newest = before.length === 0 ? 'no_stream' : BigInt(before.length - 1);
    if (expected !== 'any' && expected !== newest)
      return Promise.reject(new WrongExpectedRevisionError(stream, expected as bigint, newest as bigint));
    const position = { commit: 0n, prepare: 0n };
    const stored = events.map((event, index) => {
      const revision = BigInt(before.length + index);
      return { ...event, metadata: new Uint8Array(), stream, revision, position, createdAt: new Date(0) };
    });
    this.streams.set(stream, [...before, ...stored]);
    queueMicrotask(() => this.onAppend(stream));
    return Promise.resolve({ revision: BigInt(before.length + events.length - 1) });
  }

  async *read(stream: string, { from = 'start' }: { from?: bigint | 'start' } = {}): AsyncGenerator<StoredEvent> {
    await Promise.resolve();
    yield* this.eventsOf(stream).slice(from === 'start' ? 0 : Number(from));
  }
}

type FeedListener = (run: PruningRunState, dropped: string[]) => void;

/** The surroundings of an orchestrator, without other processes. */
export class World {
  readonly store = new MemoryStore();
  readonly runs = new RunRepository(this.store as unknown as EventStore, new Tallies());
  readonly live = new LiveProgress();
  readonly jobs = new EngineJobs();
  readonly shutdown = new AbortController();
  /** The digests of the artifacts that were put. */
  readonly stored: string[] = [];
  /** The digests that `verify` reports as damaged. It reports all others as whole. */
  readonly damaged = new Set<string>();
  readonly listeners = new Set<FeedListener>();
  /** The time by which the feed is behind the record. */
  feedDelayMs = 0;
  private readonly open = new Map<string, PruningRunState>();

  readonly artifacts = {
    put: (_bytes: unknown, { expectedDigest = '' } = {}) => {
      this.stored.push(expectedDigest);
      return Promise.resolve({ digest: expectedDigest, bytes: 8 });
    },
    open: (digest: string) => this.bytesOf(digest),
    get: () => Promise.resolve(new Uint8Array()),
    verify: (digest: string) => Promise.resolve(this.damaged.has(digest) ? 'corrupt' : 'ok'),
    fileOf: (): string | null => null,
    incoming: { newPath: () => undefined, end: () => Promise.resolve() }, // with this the scripted engine returns its states
  } as unknown as ArtifactStore;

  readonly feed = {
    onChange: (listener: FeedListener) => {
      this.listeners.add(listener);
      return () => this.listeners.delete(listener);
    },
    unfinished: () => [...this.open.values()],
    isDamaged: () => false,
    seen: async (runId: string, revision: number) => {
      while ((this.open.get(runId)?.revision ?? Infinity) < revision) await sleep(1);
    },
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  };

  constructor() {
    this.store.onAppend = (stream) =>
      void (this.feedDelayMs === 0 ? this.tell(stream) : sleep(this.feedDelayMs).then(() => this.tell(stream)));
  }

  /** Appends facts of a run as if they had been recorded before. Without facts, the run is launched. */
  async given(runId: string, facts: NewFact[] = [launched({}, runId)]): Promise<void> {
    const { stored } = encodeFacts(facts, '', (index) => `${runId} given ${index}`);
    await this.store.append(runStream(runId), stored, 'any');
    await this.tell(runStream(runId));
  }

  /** The types of the run's recorded events, in order. */
  recorded(runId: string): string[] {
    return this.store.eventsOf(runStream(runId)).map(({ type }) => type);
  }

  /** The data of the last event of a type. */
  last(runId: string, type: string): Record<string, unknown> {
    const event = this.store.eventsOf(runStream(runId)).findLast((one) => one.type === type);
    return decodeStored(event!).data;
  }

  /** The time of the last event of a type, in milliseconds. */
  at(runId: string, type: string): number {
    return Date.parse(decodeStored(this.store.eventsOf(runStream(runId)).findLast((one) => one.type === type)!).at);
  }

  slot(name: string, ...answers: (ScriptedEngine | Error)[]): { slot: EngineSlot; connector: ScriptedConnector } {
    const connector = new ScriptedConnector(answers);
    const supervisor = new EngineSupervisor(connector, { name, log: quiet, pace: FAST });
    const { artifacts } = this;
    return { slot: new EngineSlot({ name, connector, supervisor, threads: 2, artifacts, bootId: 'this machine', log: quiet }), connector };
  }

  pool(...engines: ScriptedEngine[]): { pool: EnginePool; connectors: ScriptedConnector[] } {
    const made = engines.map((engine, index) => this.slot(`local-${index + 1}`, engine));
    return { pool: new EnginePool(made.map(({ slot }) => slot)), connectors: made.map(({ connector }) => connector) };
  }

  parts(slot: EngineSlot): AttemptParts {
    const keeper = { pin: () => Promise.resolve(), release: () => undefined, releaseAfter: () => undefined } as never;
    const { runs, feed, artifacts, live, jobs, shutdown } = this;
    const recorder = new SegmentRecorder(artifacts, this.store as unknown as EventStore, runs, keeper, live, new Tallies(), quiet);
    const modelAndData = { remakeTokens: () => Promise.resolve() };
    const common = { runs, feed: feed as never, artifacts, live, jobs, recorder, modelAndData, log: quiet };
    return { ...common, slot, endsRun: () => true, instance: 'this process', recordIntervalMs: 0, shutdown: shutdown.signal };
  }

  private async *bytesOf(digest: string): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    yield Buffer.from(digest);
  }

  private async tell(stream: string): Promise<void> {
    const runId = stream.slice(runStream('').length);
    if (stream !== runStream(runId)) return; // the stream holds metrics
    const run = await this.runs.load(runId);
    if (isFinished(run)) this.open.delete(runId);
    else this.open.set(runId, run);
    for (const listener of [...this.listeners]) listener(run, []);
  }
}

/** A driver of the world's runs over a pool. Nothing is prepared, and no state is swept. */
export function driverOf(world: World, pool: EnginePool, lease: object): RunDriver {
  const keeper = {
    start: () => undefined,
    stop: () => undefined,
    sweep: () => Promise.resolve(),
    recallForUnfinished: () => Promise.resolve(),
  };
  const preparation = { start: () => undefined, stopped: () => Promise.resolve() };
  const { recorder, modelAndData, log } = world.parts(pool.slots[0]!);
  return new RunDriver(
    world.feed as never,
    world.runs,
    modelAndData as never,
    pool,
    recorder as never,
    keeper as never,
    world.jobs,
    world.live,
    lease as never,
    preparation as never,
    world.artifacts,
    {
      start: () => undefined,
      usedUp: () => new Map(),
      inTurn: (runs) =>
        inTurn(
          runs,
          () => 0,
          () => 0,
        ),
    },
    { recordIntervalMs: 0 },
    log,
  );
}
