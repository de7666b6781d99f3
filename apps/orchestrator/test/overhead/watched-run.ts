// A run that can be stopped and resumed as a whole, and its record. It gets no requests before its end.
import { readdirSync, readFileSync } from 'node:fs';
import { EspalierError } from '#protocol';
import { decodeStored } from '../../src/pruning-run/record/stored-event.js';

import type { Part, TestServer } from '../harness/server.js';
import type { StepTime, Stop, TimedRun } from './figures.js';

const PARTS: Part[] = ['orchestrator', 'engine', 'store'];
const TICK_MS = 10; // the resolution of times in /proc

export class WatchedRun {
  private readonly stops: Stop[] = [];
  private stopped: number[] = [];
  private readonly wallClockAtFirst = wallClockAheadMs();

  /** @param stepTimes the file in which the engine notes the times of its steps */
  constructor(
    private readonly server: TestServer,
    private readonly runId: string,
    private readonly stepTimes: string,
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

  /**
   * The record of the run from when it had its engine (model, tokens and first state) to its end.
   * @throws EspalierError ENGINE_LOST where several engines trained it one after another, which a bare engine does not do
   */
  async record(): Promise<Omit<TimedRun, 'bareSeconds'> & { stateDigest: string }> {
    const events = (await this.server.events(this.runId)).map(({ type, dataJson }) => decodeStored({ type, data: Buffer.from(dataJson) }));
    const atOf = (wanted: string): number => Date.parse(events.find(({ type }) => type === wanted)!.at);
    const loss = events.find((event) => event.type === 'EngineLost');
    if (loss?.type === 'EngineLost') throw new EspalierError('ENGINE_LOST', `it lost an engine on its way: ${loss.data.message}`);
    const { stateDigest } = await this.server.run(this.runId);
    return {
      run: this.runId,
      // Events have the time of the wall clock, which may have been set in between.
      startMs: atOf('EngineAttached') - this.wallClockAtFirst,
      endMs: atOf('RunCompleted') - wallClockAheadMs(),
      stops: this.stops,
      steps: stepTimesIn(this.stepTimes),
      stateDigest,
    };
  }

  /** The processor time of everything but the steps: the engine's threads that make states are those that neither loop nor compute. */
  private processorMs(): Record<string, number> {
    const of = (part: Part, ms: (pid: number) => number): number => {
      const pid = this.server.pidOf(part);
      return pid === null ? 0 : ms(pid);
    };
    return {
      orchestrator: of('orchestrator', (pid) => processorMs(`/proc/${pid}/stat`)),
      event_store: of('store', (pid) => processorMs(`/proc/${pid}/stat`)),
      engine_loop: of('engine', (pid) => processorMs(`/proc/${pid}/task/${pid}/stat`)),
      engine_states: of('engine', statesMs),
    };
  }
}

/** The time on the clock by which the engine times its steps. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function wallClockAheadMs(): number {
  return Date.now() - now();
}

/** The times that an engine noted in this file. */
export function stepTimesIn(file: string): StepTime[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter(Boolean).map((line) => {
    const [step, seconds, ended] = line.split(' ').map(Number) as [number, number, number];
    return { step, seconds, endMs: ended * 1000 };
  });
}

function statesMs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .filter((thread) => thread !== String(pid))
    .map((thread) => statOf(`/proc/${pid}/task/${thread}/stat`))
    .filter((stat) => !stat.includes('(compute)'))
    .reduce((sum, stat) => sum + msOf(stat), 0);
}

/** Returns '' for a thread that has ended. */
function statOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function processorMs(path: string): number {
  return msOf(readFileSync(path, 'utf8'));
}

function msOf(stat: string): number {
  if (stat === '') return 0;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
