// The one session of this engine. One piece of heavy work runs at a time.
import { randomUUID } from 'node:crypto';
import { EspalierError, type engineV1 } from '#protocol';
import { chosenDevice, planMemory, Session, type MemoryPlan, type SessionOptions } from '#native-engine';

/** The memory plan of the whole process. */
export type ProcessMemoryPlan = MemoryPlan & Pick<engineV1.PlanMemoryResponse, 'processBytes'>;

export interface OpenSession {
  readonly id: string;
  readonly owner: string;
  readonly session: Session;
  readonly memory: ProcessMemoryPlan;
}

export class SessionHolder {
  /** Whether a session was ever open. */
  hadSession = false;
  private current: OpenSession | undefined;
  private work: { name: string; abort: AbortController; stopping: AbortSignal; mayGoOn: boolean; done: Promise<unknown> } | undefined;
  private shuttingDown = false;
  private workEndedAtMs = performance.now();
  private readonly processBytes = BigInt(process.memoryUsage.rss());

  /** @param openSession opens a session of the core; tests replace it, and the plan of its memory */
  constructor(
    private readonly openSession: (options: SessionOptions) => Promise<Session> = (options) => Session.open(options),
    private readonly planOf: typeof planMemory = planMemory,
  ) {}

  get sessionId(): string {
    return this.current?.id ?? '';
  }

  /** The time since the last work, or since the start. */
  idleForMs(nowMs = performance.now()): number {
    return this.work === undefined ? nowMs - this.workEndedAtMs : 0;
  }

  /** @throws EspalierError SESSION_NOT_FOUND, SHUTTING_DOWN */
  require(sessionId: string): OpenSession {
    if (this.current === undefined && this.shuttingDown) throw shuttingDown();
    if (this.current === undefined || this.current.id !== sessionId) {
      const have = this.current === undefined ? 'no session is open' : 'another session is open';
      throw new EspalierError('SESSION_NOT_FOUND', `session_id "${sessionId}" is not open: ${have}`, {
        violations: [{ field: 'session_id', description: `is not open: ${have}`, code: 'SESSION_NOT_FOUND' }],
      });
    }
    return this.current;
  }

  /**
   * Plans a session that would replace the open one. So memory of the open session counts as free, beside its mapped weights, which already
   * do.
   */
  async plan(options: SessionOptions, signal?: AbortSignal): Promise<ProcessMemoryPlan> {
    const { processBytes } = this;
    const plan = await this.planOf(options, signal);
    const { memory } = this.current ?? {};
    if (plan.hostBytes > 0n) {
      // The process takes the machine's memory. A card whose free memory is not known counts as free: the sum is never above all it has.
      const most = chosenDevice(options.device ?? 'auto').memoryBytes;
      const free = plan.availableBytes + (memory?.totalBytes ?? 0n);
      const availableBytes = free < most ? free : most;
      const held = memory?.hostBytes ?? processBytes;
      const hostBytes = plan.hostBytes + processBytes;
      return { ...plan, processBytes, availableBytes, hostBytes, hostAvailableBytes: plan.hostAvailableBytes + held };
    }
    const held = memory === undefined ? processBytes : memory.totalBytes - memory.weightsBytes;
    const totalBytes = plan.totalBytes + processBytes;
    const availableBytes = plan.availableBytes + held;
    return { ...plan, processBytes, totalBytes, availableBytes };
  }

  /** Opens a session; with `replace`, in the place of one that is open, whose work is stopped at its next step. */
  async open(options: SessionOptions, owner: string, replace: boolean): Promise<OpenSession> {
    if (this.current !== undefined && !replace) {
      throw new EspalierError('SESSION_ALREADY_OPEN', `a session of "${this.current.owner}" is open; set replace to end it`);
    }
    if (replace) await this.stopWork();
    return this.exclusive('OpenSession', async () => {
      const before = this.current;
      this.current = undefined;
      await before?.session.close(); // first, so that two models are never in memory at once
      const session = await this.openSession(options);
      try {
        this.current = { id: randomUUID(), owner, session, memory: await this.plan(options) };
      } catch (error) {
        await session.close(); // no client knows this session, so no client would close it
        throw error;
      }
      this.hadSession = true;
      return this.current;
    });
  }

  async close(sessionId: string): Promise<void> {
    const { session } = this.require(sessionId);
    this.current = undefined;
    await session.close();
  }

  /**
   * Runs heavy work alone. The signal aborts when the work is told to stop, or when its client has gone. The work checks the signal by
   * itself, and this function waits until the work has ended.
   */
  async exclusive<T>(name: string, run: (signal: AbortSignal, mayGoOn: () => boolean) => Promise<T>, client?: AbortSignal): Promise<T> {
    while (this.work?.stopping.aborted) await this.work.done.catch(() => undefined);
    if (this.shuttingDown) throw shuttingDown();
    client?.throwIfAborted();
    if (this.work !== undefined) throw new EspalierError('ENGINE_BUSY', `the engine is busy with ${this.work.name}`);
    const abort = new AbortController();
    const stopping = client === undefined ? abort.signal : AbortSignal.any([abort.signal, client]);
    const work = { name, abort, stopping, mayGoOn: true, done: Promise.resolve() as Promise<unknown> };
    const done = run(stopping, () => work.mayGoOn);
    work.done = done;
    this.work = work;
    try {
      return await done;
    } finally {
      this.work = undefined;
      this.workEndedAtMs = performance.now();
    }
  }

  /** Tells the work under way (only that of this name, if one is given) to end at its next step; resolves when it has. */
  async stopWork(name?: string): Promise<void> {
    const { work } = this;
    if (work === undefined || (name !== undefined && work.name !== name)) return;
    work.abort.abort();
    await work.done.catch(() => undefined);
  }

  /** Tells the work under way, if it has this name, to end at its next boundary, as a training does at the end of its segment. */
  finishWork(name: string): void {
    if (this.work?.name === name) this.work.mayGoOn = false;
  }

  /** For the next holder of the engine: work under way ends at its next step, and memory is freed. */
  async clear(): Promise<void> {
    await this.stopWork();
    const { current } = this;
    this.current = undefined;
    await current?.session.close();
  }

  /** For the end of the process: no new work starts, work under way ends at its next step, and memory is freed. */
  async shutDown(): Promise<void> {
    this.shuttingDown = true;
    await this.clear();
  }
}

/** The server goes on elsewhere after this error: the engine is about to end. */
function shuttingDown(): EspalierError {
  return new EspalierError('SHUTTING_DOWN', 'the engine is shutting down');
}
