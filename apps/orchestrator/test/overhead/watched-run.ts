// A run that can be stopped and let go on as a whole, and its record, with times that leave out when it was stopped.
import { readFileSync } from 'node:fs';
import type { v1 } from '#protocol';
import { decodeStored } from '../../src/pruning-run/stored-event.js';
import { ReplayPlanner } from '../../src/verification/replay-plan.js';
import type { Part, TestServer } from '../harness/server.js';

export interface TimedSegment {
  recordedAtMs: number;
  /** From the record before to its own, without the time that the run was stopped; 0 where it was recorded with the one before. */
  seconds: number;
}

const PARTS: Part[] = ['orchestrator', 'engine', 'store'];
const TICK_MS = 10; // of /proc

export function planOf(events: v1.HistoryEvent[]): ReplayPlanner {
  const planner = new ReplayPlanner();
  for (const { type, dataJson, revision } of events) planner.push(decodeStored({ type, data: Buffer.from(dataJson) }), Number(revision));
  return planner;
}

export class WatchedRun {
  private readonly stops: { fromMs: number; toMs: number }[] = [];
  private stopped: number[] = [];
  private before: Record<string, number> = {};

  constructor(private readonly server: TestServer, private readonly runId: string) {}

  async segments(): Promise<TimedSegment[]> {
    const segments: TimedSegment[] = [];
    let beforeMs = 0;
    for (const { type, dataJson } of await this.server.events(this.runId)) {
      const event = decodeStored({ type, data: Buffer.from(dataJson) });
      const atMs = Date.parse(event.at);
      if (event.type === 'EngineAttached') beforeMs = atMs;
      if (event.type !== 'MasksUpdated') continue;
      segments.push({ recordedAtMs: atMs, seconds: (atMs - beforeMs - this.stoppedWithin(beforeMs, atMs)) / 1000 });
      beforeMs = atMs;
    }
    return segments;
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

  /** Counts the processor's time from here on. */
  count(): void {
    this.before = this.processorNow();
  }

  /** Of the orchestrator, the event store, and the engine's event loop alone. */
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
