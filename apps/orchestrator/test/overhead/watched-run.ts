// A run that can be stopped and let go on as a whole, and its record, with times that leave out when it was stopped.
import { readFileSync } from 'node:fs';
import { v1 } from '#protocol';
import type { PruningRunState } from '../../src/pruning-run/pruning-run.js';
import { decodeStored } from '../../src/pruning-run/stored-event.js';
import { ReplayPlanner, type ReplaySegment } from '../../src/verification/replay-plan.js';
import { unary, type Part, type TestServer } from '../harness/server.js';

export interface RecordedSegment {
  plan: ReplaySegment;
  /** From the record of the segment before, or the engine's start, to its own. */
  seconds: number;
  /** As the engine measured it, its state included. */
  trainingSeconds: number;
}

const PARTS: Part[] = ['orchestrator', 'engine', 'store'];
const TICK_MS = 10; // of /proc

export class WatchedRun {
  completed = false;
  private readonly planner = new ReplayPlanner();
  private readonly stops: { fromMs: number; toMs: number }[] = [];
  private revision = 0n;
  private lastAtMs = 0;
  private stopped: number[] = [];
  private readonly before: Record<string, number>;

  constructor(private readonly server: TestServer, private readonly runId: string) {
    this.before = this.processorNow();
  }

  get state(): PruningRunState | null {
    return this.planner.run;
  }

  /** Segments that were recorded since the last call. */
  async recordedSince(): Promise<RecordedSegment[]> {
    const recorded: RecordedSegment[] = [];
    const request = v1.ReadHistoryRequest.fromPartial({ runId: this.runId, fromRevision: this.revision, pageSize: 1000 });
    const { events } = await unary<v1.ReadHistoryResponse>((done) => this.server.history.readHistory(request, done));
    for (const { type, dataJson, revision } of events) {
      const event = decodeStored({ type, data: Buffer.from(dataJson) });
      this.planner.push(event, Number(revision));
      this.revision = revision + 1n;
      const atMs = Date.parse(event.at);
      if (event.type === 'EngineAttached') this.lastAtMs = atMs;
      if (event.type === 'MasksUpdated') {
        const stoppedMs = this.stoppedWithin(this.lastAtMs, atMs);
        const trainingSeconds = event.data.trainingSeconds - stoppedMs / 1000;
        recorded.push({ plan: this.planner.segments.at(-1)!, seconds: (atMs - this.lastAtMs - stoppedMs) / 1000, trainingSeconds });
        this.lastAtMs = atMs;
      }
      if (event.type === 'RunFailed') throw new Error(`${event.data.code}: ${event.data.message}`);
      this.completed ||= event.type === 'RunCompleted';
    }
    return recorded;
  }

  stop(): void {
    this.stopped = PARTS.flatMap((part) => this.server.pidOf(part) ?? []);
    for (const pid of this.stopped) process.kill(pid, 'SIGSTOP');
    this.stops.push({ fromMs: Date.now(), toMs: Infinity });
  }

  goOn(): void {
    for (const pid of this.stopped) process.kill(pid, 'SIGCONT');
    if (this.stopped.length > 0) this.stops.at(-1)!.toMs = Date.now();
    this.stopped = [];
  }

  /** Since the beginning: of the orchestrator, the event store, and the engine's event loop alone. */
  processorMs(): Record<string, number> {
    const now = this.processorNow();
    return Object.fromEntries(Object.entries(now).map(([name, ms]) => [name, ms - this.before[name]!]));
  }

  private processorNow(): Record<string, number> {
    const of = (part: Part, path: (pid: number) => string): number => {
      const pid = this.server.pidOf(part);
      return pid === null ? 0 : processorMs(path(pid));
    };
    return {
      orchestrator: of('orchestrator', (pid) => `/proc/${pid}/stat`), event_store: of('store', (pid) => `/proc/${pid}/stat`),
      engine_loop: of('engine', (pid) => `/proc/${pid}/task/${pid}/stat`),
    };
  }

  private stoppedWithin(fromMs: number, toMs: number): number {
    return this.stops.reduce((sum, stop) => sum + Math.max(0, Math.min(toMs, stop.toMs) - Math.max(fromMs, stop.fromMs)), 0);
  }
}

function processorMs(path: string): number {
  const stat = readFileSync(path, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
