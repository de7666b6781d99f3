// Keeps one engine up: starts it when it is wanted, asks it for its health, kills one that hangs, starts another after a
// growing delay. Whoever holds an engine learns from `lost` that it is gone.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EspalierError } from '#protocol';
import { EngineClient } from './engine-client.js';
import { EngineProcess } from './engine-process.js';

/** More than a training engine is silent for. */
const HEALTH_INTERVAL_MS = 2_500;
const INTERVAL_AFTER_MISS_MS = 1_000;
const HEALTH_TIMEOUT_MS = 2_000;
const MISSES_MAX = 3;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 10_000;

/** The longest that a dead or hung engine goes unnoticed. */
export const ENGINE_LEASE_MS = 2 * HEALTH_INTERVAL_MS + MISSES_MAX * (HEALTH_TIMEOUT_MS + INTERVAL_AFTER_MISS_MS);

/** An engine that answered; good until `lost` is aborted (its reason is the EspalierError). */
export interface LiveEngine {
  client: EngineClient;
  lost: AbortSignal;
  pid: number | undefined;
  /** Ends the engine at once, for the given reason: it hangs, or its answers make no sense. */
  giveUp(reason: EspalierError): void;
  /** It has just sent something: no need to ask for its health. */
  alive(): void;
  heardAtMs: number;
}

export interface EngineSupervisorOptions {
  /** The address of an engine that somebody else runs; undefined: we start our own. */
  address: string | undefined;
  device: string;
  threads: number;
  folder: string;
  log: Logger;
}

export class EngineSupervisor {
  private readonly stopping = new AbortController();
  private engine: Promise<LiveEngine> | null = null;
  private process: EngineProcess | null = null;
  private failures = 0;
  private heartbeat: () => void = () => undefined;

  constructor(private readonly options: EngineSupervisorOptions) {}

  /** Called at each sign of life. */
  onHeartbeat(listener: () => void): void {
    this.heartbeat = listener;
  }

  /** The running engine, or a new one. @throws EspalierError ENGINE_UNAVAILABLE */
  acquire(): Promise<LiveEngine> {
    if (this.stopping.signal.aborted) return Promise.reject(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    if (this.engine === null) {
      const starting = this.start();
      this.engine = starting;
      starting.catch(() => {
        if (this.engine === starting) this.engine = null;
      });
    }
    return this.engine;
  }

  async stop(): Promise<void> {
    this.stopping.abort(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    await this.engine?.catch(() => undefined);
    await this.process?.stop();
  }

  private async start(): Promise<LiveEngine> {
    const { address, log } = this.options;
    if (this.failures > 0)
      await sleep(Math.min(FIRST_DELAY_MS * 2 ** (this.failures - 1), LONGEST_DELAY_MS), undefined, { signal: this.stopping.signal });
    this.failures += 1; // until it has lived through its first health checks
    const lost = new AbortController();
    if (address !== undefined) {
      const client = new EngineClient(address);
      await client.checkHealth(5_000).catch((error: unknown) => {
        throw new EspalierError('ENGINE_UNAVAILABLE', `no engine answers at ${address}: ${(error as Error).message}`);
      });
      const remote = this.live(client, lost, undefined, () => client.close());
      void this.watch(remote);
      return remote;
    }
    const child = await EngineProcess.start(
      {
        folder: this.options.folder,
        device: this.options.device,
        threads: this.options.threads,
        onOutput: (line) => log.info({ engine: line }, 'engine'),
      },
      this.stopping.signal,
    );
    this.process = child;
    const engine = this.live(child.client, lost, child.pid, () => child.kill());
    log.info({ pid: child.pid }, 'engine started');
    void child.gone.then((reason) => engine.giveUp(new EspalierError('ENGINE_LOST', `the engine process ended: ${reason}`)));
    void this.watch(engine);
    return engine;
  }

  private live(client: EngineClient, lost: AbortController, pid: number | undefined, end: () => void): LiveEngine {
    const giveUp = (reason: EspalierError): void => {
      if (lost.signal.aborted) return;
      if (!this.stopping.signal.aborted) this.options.log.warn({ code: reason.code, pid }, reason.message);
      this.engine = null;
      lost.abort(reason);
      end();
    };
    const engine: LiveEngine = {
      client,
      lost: lost.signal,
      pid,
      giveUp,
      heardAtMs: -Infinity,
      alive: () => {
        engine.heardAtMs = performance.now();
      },
    };
    return engine;
  }

  private async watch(engine: LiveEngine): Promise<void> {
    let misses = 0;
    for (let answers = 0; !engine.lost.aborted;) {
      try {
        if (performance.now() - engine.heardAtMs > HEALTH_INTERVAL_MS) await engine.client.checkHealth(HEALTH_TIMEOUT_MS);
        misses = 0;
        answers += 1;
        if (answers === 4) this.failures = 0;
        this.heartbeat();
      } catch {
        misses += 1;
        if (misses >= MISSES_MAX)
          engine.giveUp(new EspalierError('ENGINE_HUNG', `the engine did not answer ${misses} health checks in a row`));
      }
      await sleep(misses === 0 ? HEALTH_INTERVAL_MS : INTERVAL_AFTER_MISS_MS, undefined, { ref: false });
    }
  }
}
