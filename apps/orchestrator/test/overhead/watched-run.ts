// A run that can be stopped and let go on as a whole, and its record. It is asked for nothing before its end.
import { readFileSync } from 'node:fs';
import { v1 } from '#protocol';
import { decodeStored } from '../../src/pruning-run/record/stored-event.js';
import { type Part, type TestServer, unary } from '../harness/server.js';
import type { Stop, TimedRun } from './figures.js';

const PARTS: Part[] = ['orchestrator', 'engine', 'store'];
const TICK_MS = 10; // of /proc

export class WatchedRun {
  private readonly stops: Stop[] = [];
  private stopped: number[] = [];

  constructor(
    private readonly server: TestServer,
    private readonly runId: string,
  ) {}

  stop(): void {
    if (this.stopped.length > 0) return;
    const processorMs = this.processorMs();
    this.stopped = PARTS.flatMap((part) => this.server.pidOf(part) ?? []);
    for (const pid of this.stopped) process.kill(pid, 'SIGSTOP');
    this.stops.push({ fromMs: now(), toMs: Infinity, processorMs });
  }

  goOn(): void {
    if (this.stopped.length === 0) return;
    this.stops.at(-1)!.toMs = now();
    for (const pid of this.stopped.splice(0)) process.kill(pid, 'SIGCONT');
  }

  /** From when it had its engine (model, tokens and first state are there) to its end. */
  async record(): Promise<Omit<TimedRun, 'bareSeconds'> & { stateDigest: string }> {
    const events = (await this.server.events(this.runId)).map(({ type, dataJson }) => decodeStored({ type, data: Buffer.from(dataJson) }));
    const atOf = (wanted: string): number => Date.parse(events.find(({ type }) => type === wanted)!.at);
    const request = v1.QueryMetricsRequest.fromPartial({ runId: this.runId, maxPoints: 10_000 });
    const { steps } = await unary<v1.QueryMetricsResponse>((done) => this.server.history.queryMetrics(request, done));
    const { stateDigest } = await this.server.run(this.runId);
    return {
      run: this.runId,
      startMs: atOf('EngineAttached'),
      endMs: atOf('RunCompleted'),
      stops: this.stops,
      stepSeconds: steps.map(({ seconds }) => seconds),
      stateDigest,
    };
  }

  /** Processor time of the orchestrator, the event store, and the engine's event loop alone. */
  private processorMs(): Record<string, number> {
    const of = (part: Part, path: (pid: number) => string): number => {
      const pid = this.server.pidOf(part);
      return pid === null ? 0 : processorMs(path(pid));
    };
    return {
      orchestrator: of('orchestrator', (pid) => `/proc/${pid}/stat`),
      event_store: of('store', (pid) => `/proc/${pid}/stat`),
      engine_loop: of('engine', (pid) => `/proc/${pid}/task/${pid}/stat`),
    };
  }
}

/** On the clock of events, but finer than milliseconds. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

function processorMs(path: string): number {
  const stat = readFileSync(path, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
