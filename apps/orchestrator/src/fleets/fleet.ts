// Brings engines when runs wait for one. It looks at the jobs, decides, and acts, in turn. The host remembers the jobs, so a new process
// goes on where the last one ended (docs/design/fleets.md).
import { createHash, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { asOwnerOnly, folderMark, makeFolder } from '#files';
import { EspalierError, toEspalierError, type engineV1 } from '#protocol';
import { TokenKeeper } from '../access/token-keeper.js';
import type { OrchestratorConfig } from '../config.js';
import type { RunToFit } from '../engine-pool/engine-source.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineSource } from '../engine-pool/engine-source.js';
import { JoinedEngines } from '../engine-pool/joined-engines.js';
import { sessionOptions } from '../engines/wire/engine-requests.js';
import { Tallies } from '../monitoring/tallies.js';
import { DriverLease } from '../storage/driver-lease.js';
import { FLEET, FOLDER_ID, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { engineCommand } from './engine-command.js';
import { decideFleet, pauseAfterFailuresMs } from './fleet-decision.js';
import { FleetJobs, type FleetJob } from './fleet-jobs.js';
import type { FleetSettings } from './fleet-settings.js';
import { FleetToken } from './fleet-token.js';
import { endWords, waitWords } from './fleet-words.js';
import type { JobHost } from './job-host.js';
import { KubernetesHost } from './kubernetes-host.js';
import { POD_FILES } from './kubernetes-pod.js';
import { LocalHost } from './local-host.js';
import { SlurmHost } from './slurm-host.js';

/** The least time between two looks. The number of waiting runs may change many times a second. */
const LEAST_BETWEEN_LOOKS_MS = 1_000;
/** The bytes of a gigabyte, as Slurm and Kubernetes count them. */
const GB = 2 ** 30;

/** The state of the fleet for clients. */
export interface FleetView {
  settings: FleetSettings;
  jobs: readonly FleetJob[];
  ended: readonly FleetJob[];
  problem: EspalierError | null;
  notBefore: Date | null;
  waitsFor: string;
}

@Injectable()
export class Fleet implements EngineSource {
  private readonly jobs = new FleetJobs();
  private readonly stopping = new AbortController();
  private host: JobHost | null = null;
  private wanted = 0;
  /** The reason why no job can be had now, or null. */
  private problem: EspalierError | null = null;
  private failures = 0;
  private notBeforeMs = 0;
  private surplusSinceMs: number | null = null;
  private lookedAtMs = -Infinity;
  private loop: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;

  constructor(
    @Inject(FLEET) private readonly settings: FleetSettings | null,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(JoinedEngines) private readonly joined: JoinedEngines,
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
    @Inject(DriverLease) private readonly lease: Pick<DriverLease, 'held' | 'onChange'>,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(FOLDER_ID) private readonly folderId: string,
    @Inject(Tallies) private readonly tallies: Pick<Tallies, 'fleetJobFailures'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    if (settings !== null) pool.bringsMore(this);
  }

  /** @param listen the address at which the server answers */
  start(listen: string): void {
    const { settings } = this;
    if (settings === null) return;
    const joinAt = settings.join ?? ownAddress(listen);
    const folder = join(this.config.dataFolder, 'fleet');
    const logs = settings.logs ?? join(folder, 'logs');
    const tokenFile = settings.tokenFile ?? join(folder, 'token');
    const token = new FleetToken(this.tokens, settings.name, tokenFile);
    asOwnerOnly(() => {
      for (const one of [logs, dirname(tokenFile)]) makeFolder(one);
    });
    this.host = this.hostOf(settings, { join: joinAt, logs, token: tokenFile });
    try {
      this.host.requireFiles?.();
    } catch (error) {
      this.fails(toEspalierError(error), { pauses: false }); // the user may mend the file before a run waits
    }
    this.lease.onChange(() => this.wake());
    this.pool.onChange(() => this.noteEngines());
    this.loop = this.work(this.host, token);
  }

  private hostOf(settings: FleetSettings, { join, logs, token }: { join: string; logs: string; token: string }): JobHost {
    const { slurm, kubernetes, tlsCa } = settings;
    const inPod = { tokenFile: POD_FILES.token, tlsCa: tlsCa === null ? null : POD_FILES.authority };
    const files = { join, ...(kubernetes === null ? { tokenFile: token, tlsCa } : inPod) };
    const commandOf = (engine: string): string[] => engineCommand(settings, files, engine);
    const wishes = { cpus: settings.cpus, cards: settings.cards, memoryGb: settings.memoryGb };
    const jobs = { fleetId: this.fleetId(), specId: digest([slurm ?? kubernetes, wishes, logs, commandOf('')]), wishes, commandOf };
    if (slurm !== null) return new SlurmHost({ ...jobs, settings: slurm, logs });
    if (kubernetes !== null) return new KubernetesHost({ ...jobs, settings: kubernetes }, tlsCa);
    return new LocalHost(commandOf, logs);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.loop;
  }

  get view(): FleetView | null {
    const { settings, jobs, problem, notBeforeMs } = this;
    if (settings === null) return null;
    const notBefore = notBeforeMs > Date.now() ? new Date(notBeforeMs) : null;
    return { settings, jobs: jobs.all, ended: jobs.ended, problem, notBefore, waitsFor: this.words() };
  }

  /** The fleet's settings. A server without them asks for no engine and starts no job. */
  private get given(): FleetSettings {
    if (this.settings === null) throw new TypeError('there is no fleet');
    return this.settings;
  }

  get most(): number {
    return this.settings?.maxEngines ?? 0;
  }

  wants(count: number): void {
    if (count === this.wanted) return;
    this.wanted = count;
    this.wake();
  }

  words(): string {
    const { wanted, most, problem, notBeforeMs } = this;
    return waitWords({ wanted, most, problem, jobs: this.jobs.all, notBefore: notBeforeMs > Date.now() ? new Date(notBeforeMs) : null });
  }

  /**
   * Plans the memory of a run. It compares the need with the memory of a job where the fleet's settings give that. Otherwise the engine
   * reports what is missing once it has joined.
   */
  async planMemory(run: RunToFit): Promise<engineV1.PlanMemoryResponse> {
    const { kind, cards, memoryGb, cpus } = this.given;
    const plan = await this.pool.question((client) => client.planMemory(sessionOptions(run, cpus)));
    if (kind === 'local') return plan;
    const availableBytes = cards === null && memoryGb !== null ? BigInt(memoryGb * GB) : plan.totalBytes;
    return { ...plan, availableBytes, hostAvailableBytes: plan.hostBytes };
  }

  private async work(host: JobHost, token: FleetToken): Promise<void> {
    let isFirst = true;
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      if (this.lease.held && (isFirst || this.hasWork)) {
        await this.pauseUntil(this.lookedAtMs + LEAST_BETWEEN_LOOKS_MS);
        if (this.stopping.signal.aborted) return;
        isFirst = !(await this.round(host, token)) && isFirst;
      }
      const nextMs = this.lease.held && (isFirst || this.hasWork) ? this.given.pollSeconds * 1_000 : null;
      const timer = nextMs === null ? undefined : setTimeout(() => this.wake(), nextMs);
      await woken;
      clearTimeout(timer);
    }
  }

  private get hasWork(): boolean {
    return this.wanted > 0 || this.jobs.all.length > 0;
  }

  /** Looks once, and acts on the result. Returns false where the jobs are not known. Never throws. */
  private async round(host: JobHost, token: FleetToken): Promise<boolean> {
    this.lookedAtMs = performance.now();
    try {
      const over = this.jobs.update(await host.look(), (engine) => this.engineOf(engine), performance.now());
      if (this.problem?.code === 'FLEET_UNREACHABLE') this.problem = null;
      for (const job of over) this.ended(job, host);
      this.noteEngines();
      await this.act(host, token);
      return true;
    } catch (error) {
      this.fails(toEspalierError(error), { pauses: false });
      return false;
    }
  }

  private async act(host: JobHost, token: FleetToken): Promise<void> {
    const now = performance.now();
    const { submit, cancel, surplus } = decideFleet({
      wanted: this.wanted,
      most: this.most,
      jobs: this.jobs.views((engine) => this.engineOf(engine), now),
      failures: this.failures,
      mayAsk: Date.now() >= this.notBeforeMs,
      surplusForMs: this.surplusSinceMs === null ? 0 : now - this.surplusSinceMs,
      idleMs: this.given.idleSeconds * 1_000,
    });
    this.surplusSinceMs = surplus === 0 ? null : (this.surplusSinceMs ?? now);
    if (cancel.length > 0) {
      this.log.info({ jobs: cancel }, 'jobs of the fleet are cancelled: no run needs them');
      await host.cancel(cancel);
      this.jobs.cancelled(cancel);
    }
    for (let count = 0; count < submit && !this.stopping.signal.aborted; count += 1) {
      const engine = `${this.given.name}-${randomBytes(4).toString('hex')}`;
      try {
        const id = await host.submit(engine, await token.ensure());
        this.jobs.asked(id, engine);
        this.problem = null;
        this.log.info({ job: id, engine }, 'a job of the fleet was asked for');
      } catch (error) {
        this.fails(toEspalierError(error), { pauses: true });
        return;
      }
    }
  }

  private ended(job: FleetJob, host: JobHost): void {
    this.joined.givenUp(job.engine);
    this.log.info(
      { job: job.id, engine: job.engine, state: job.state, reason: job.reason, node: job.node },
      'a job of the fleet has ended',
    );
    if (job.hasJoined || job.isCancelled) return;
    const message = `${endWords(job)} before its engine joined; its output: ${host.logOf(job)}`;
    this.fails(new EspalierError('FLEET_JOB_FAILED', message), { pauses: true });
  }

  private fails(error: EspalierError, { pauses }: { pauses: boolean }): void {
    if (error.message !== this.problem?.message) this.log.warn({ code: error.code }, `the fleet: ${error.message}`);
    this.problem = error;
    if (!pauses) return;
    this.failures += 1;
    this.tallies.fleetJobFailures.inc();
    this.notBeforeMs = Date.now() + pauseAfterFailuresMs(this.failures);
  }

  /** Notes engines that have joined. One that has shows that jobs can be had, so earlier failures are forgotten. */
  private noteEngines(): void {
    const isNew = this.jobs.noteJoined((engine) => this.engineOf(engine));
    if (!isNew) return;
    Object.assign(this, { failures: 0, notBeforeMs: 0, problem: null });
    this.wake();
  }

  private engineOf(name: string): 'free' | 'busy' | 'away' | null {
    const slot = this.pool.slot(name);
    if (slot === undefined) return null;
    if (slot.connector.joined?.isConnected !== true) return 'away';
    return slot.isTaken ? 'busy' : 'free';
  }

  /** The id of the fleet. A copy of the data folder has another id, so that its server does not take these jobs for its own. */
  private fleetId(): string {
    return digest([this.folderId, folderMark(this.config.dataFolder), this.given.name]);
  }

  private async pauseUntil(atMs: number): Promise<void> {
    const ms = atMs - performance.now();
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

function digest(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

function ownAddress(listen: string): string {
  return `http://${listen.replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:')}`;
}
