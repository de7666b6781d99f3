// Keeps one engine up. It attaches the engine when it is wanted, checks its health, gives it up when it hangs, and tries again after a
// growing delay. The signal `lost` tells the holder of an engine that the engine is gone.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EspalierError, toEspalierError, type engineV1 } from '#protocol';
import type { EngineApi } from './wire/engine-client.js';
import type { ProcessorUse } from '#files';
import { isElsewhere, type EngineConnector, type EngineLink } from './engine-link.js';

export interface Pace {
  /** The time of silence after which the engine's health is checked. It is longer than a training engine is ever silent. */
  healthIntervalMs: number;
  intervalAfterMissMs: number;
  healthTimeoutMs: number;
  /** The delay before a second try. Each next try waits twice as long. */
  firstDelayMs: number;
}
const PACE: Pace = { healthIntervalMs: 2_500, intervalAfterMissMs: 1_000, healthTimeoutMs: 2_000, firstDelayMs: 200 };
const MISSES_MAX = 3;
/** The least use of the processors between two checks that counts as work. A process that only waits for others uses less. */
const AT_WORK_MS = 20;
/** An engine that works but is silent for this time counts as hung, too. */
const SILENCE_AT_WORK_MAX_MS = 300_000;
/** If this process's own timer is late by this much, the process was stopped or starved, and the silence says nothing about the engine. */
const OWN_DELAY_MS = 1_000;
const DELAY_MAX_MS = 10_000;
/** This delay is short, because asking an address costs little and the engine's former holder may be gone. */
const NAMED_ENGINE_DELAY_MAX_MS = 2_000;
/** After this number of answers in a row, earlier failures are forgotten. */
const HEALTHY_AFTER_ANSWERS = 4;

/** The longest time until a dead or hung engine is noticed. */
export const ENGINE_LEASE_MS = 2 * PACE.healthIntervalMs + MISSES_MAX * (PACE.healthTimeoutMs + PACE.intervalAfterMissMs);

/** An engine that answered. Use it until `lost` aborts; the reason of the signal is an EspalierError. */
export interface LiveEngine {
  client: EngineApi;
  about: engineV1.DescribeEngineResponse;
  sharesFiles: boolean;
  lost: AbortSignal;
  /** Ends the engine at once, because it hangs or its answers are wrong. */
  giveUp(reason: EspalierError): void;
  processorUse(): ProcessorUse | null;
  /** Tells whether the engine was cut off and is expected back. */
  isAwaited(): boolean;
}

export type Condition =
  | 'absent' // it was never needed, or it is gone and not needed now
  | 'starting'
  | 'waiting' // until the next try
  | 'up'
  | 'notResponding';

export class EngineSupervisor {
  private readonly pace: Pace;
  private readonly stopping = new AbortController();
  private engine: Promise<LiveEngine> | null = null;
  private link: EngineLink | null = null;
  private current: LiveEngine | null = null;
  private misses = 0;
  private heartbeat: () => void = () => undefined;
  private changed: () => void = () => undefined;
  private isWaiting = false;
  /** Whether the engine is ended on purpose. */
  private isEnding = false;
  /** The number of failures in a row: failed tries, and losses of engines before the end of their first health checks. */
  failures = 0;
  /** The number of lost engines since the supervisor began. */
  losses = 0;
  /** The error of the last loss or failed try, or null while the engine is well. */
  problem: EspalierError | null = null;
  conditionSince = new Date();
  private shown: Condition = 'absent';

  constructor(
    private readonly connector: EngineConnector,
    private readonly options: { name: string; log: Logger; pace?: Pace; onLoss?: () => void },
  ) {
    this.pace = options.pace ?? PACE;
  }

  /** The listener is called at each sign of life. */
  onHeartbeat(listener: () => void): void {
    this.heartbeat = listener;
  }

  /** The listener is called when the condition has changed. */
  onChange(listener: () => void): void {
    this.changed = listener;
  }

  get condition(): Condition {
    if (this.current !== null) return this.misses > 0 || this.current.isAwaited() ? 'notResponding' : 'up';
    if (this.engine === null) return 'absent';
    return this.isWaiting ? 'waiting' : 'starting';
  }

  /** The running engine, or null. */
  get live(): LiveEngine | null {
    return this.current;
  }

  /** Returns the running engine, or starts one. @throws EspalierError ENGINE_UNAVAILABLE, and the errors of the connector */
  acquire(): Promise<LiveEngine> {
    if (this.stopping.signal.aborted) return Promise.reject(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    if (this.engine === null) {
      const starting = this.start();
      this.engine = starting;
      starting.catch(() => {
        if (this.engine === starting) this.engine = null;
        this.notify();
      });
      this.notify();
    }
    return this.engine;
  }

  /** Gives the engine back. It may be acquired again. */
  async letGo(reason: EspalierError): Promise<void> {
    await this.engine?.catch(() => undefined);
    const { link, current } = this;
    if (link === null || current === null) return;
    this.isEnding = true;
    current.giveUp(reason);
    await link.end();
    this.isEnding = false;
    this.notify();
  }

  async stop(): Promise<void> {
    this.stopping.abort(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    await this.engine?.catch(() => undefined);
    await this.link?.end();
  }

  private async start(): Promise<LiveEngine> {
    const { log, name } = this.options;
    if (this.failures > 0) {
      this.isWaiting = true;
      const longest = this.connector.isNamed ? NAMED_ENGINE_DELAY_MAX_MS : DELAY_MAX_MS;
      const delayMs = Math.min(this.pace.firstDelayMs * 2 ** (this.failures - 1), longest);
      await sleep(delayMs, undefined, { signal: this.stopping.signal }).finally(() => {
        this.isWaiting = false;
      });
      this.notify();
    }
    this.failures += 1; // counts as a failure until the engine has lived through its first health checks
    try {
      this.link = await this.connector.connect(this.stopping.signal);
    } catch (error) {
      const problem = toEspalierError(error);
      // logs a repeated problem once
      if (problem.message !== this.problem?.message) log.warn({ engine: name, code: problem.code }, problem.message);
      this.problem = problem;
      throw error;
    }
    const { link } = this;
    const engine = this.alive(link);
    log.info({ engine: name, pid: link.about.pid }, 'engine attached');
    void link.gone.then((reason) => engine.giveUp(new EspalierError('ENGINE_LOST', reason)));
    void this.watch(engine, link);
    this.notify();
    return engine;
  }

  private alive(link: EngineLink): LiveEngine {
    const lost = new AbortController();
    const giveUp = (reason: EspalierError): void => {
      if (lost.signal.aborted) return;
      const isWanted = this.isEnding || this.stopping.signal.aborted;
      if (!isWanted) {
        this.options.log.warn({ engine: this.options.name, code: reason.code, pid: link.about.pid }, reason.message);
        this.losses += 1;
        this.options.onLoss?.();
        this.problem = reason;
      }
      this.engine = null;
      this.current = null;
      lost.abort(reason);
      if (isWanted) return; // the holder ends the link in good order
      link.cut(reason);
      this.notify();
    };
    const engine: LiveEngine = {
      client: link.client,
      about: link.about,
      sharesFiles: link.sharesFiles,
      lost: lost.signal,
      giveUp,
      processorUse: () => link.processorUse(),
      isAwaited: () => link.isAwaited(),
    };
    this.misses = 0;
    this.current = engine;
    return engine;
  }

  private async watch(engine: LiveEngine, link: EngineLink): Promise<void> {
    const { healthIntervalMs, healthTimeoutMs, intervalAfterMissMs } = this.pace;
    let misses = 0;
    let answeredAtMs = performance.now();
    let workedMs = workOf(link);
    for (let answers = 0; !engine.lost.aborted;) {
      const askedAtMs = performance.now();
      try {
        if (askedAtMs - link.client.heardAtMs > healthIntervalMs) await link.checkHealth(healthTimeoutMs);
        misses = 0;
        answers += 1;
        answeredAtMs = performance.now();
        if (answers === HEALTHY_AFTER_ANSWERS) {
          this.failures = 0;
          this.problem = null;
        }
        if (!engine.lost.aborted) this.heartbeat();
      } catch (error) {
        const nowMs = performance.now();
        const worked = workOf(link);
        const isAtWork = worked - workedMs >= AT_WORK_MS && nowMs - answeredAtMs < SILENCE_AT_WORK_MAX_MS;
        const isLate =
          link.client.heardAtMs > askedAtMs || nowMs - askedAtMs > healthTimeoutMs + OWN_DELAY_MS || isAtWork || link.isAwaited();
        workedMs = worked;
        // An engine that is only late is shown as late and never given up for it.
        misses = isLate ? Math.min(misses + 1, MISSES_MAX - 1) : misses + 1;
        if (isLate && !engine.lost.aborted) this.heartbeat();
        if (isElsewhere(error)) engine.giveUp(toEspalierError(error));
        else if (misses >= MISSES_MAX && link.awaitSilent()) misses = MISSES_MAX - 1;
        else if (misses >= MISSES_MAX) engine.giveUp(new EspalierError('ENGINE_HUNG', `the engine did not answer ${misses} health checks`));
      }
      if (engine === this.current && (this.misses === 0) !== (misses === 0)) {
        this.misses = misses;
        this.notify();
      }
      await sleep(misses === 0 ? healthIntervalMs : intervalAfterMissMs, undefined, { ref: false });
    }
  }

  /** Called when the engine was cut off or has come back, and whenever the condition may have changed. */
  notify(): void {
    if (this.condition !== this.shown) {
      this.shown = this.condition;
      this.conditionSince = new Date();
    }
    this.changed();
  }
}

/** The milliseconds in which the engine's threads worked or waited for a processor. */
function workOf(link: EngineLink): number {
  const use = link.processorUse();
  return use === null ? 0 : use.ranMs + use.waitedMs;
}
