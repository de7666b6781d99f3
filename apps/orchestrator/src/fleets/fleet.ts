// Brings engines when runs wait for one. It looks at the jobs, decides, and acts, in turn. The host remembers the jobs, so a new process
// goes on where the last one ended (docs/design/fleets.md). The file is read again at each turn of the loop.
import { createHash, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { asOwnerOnly, folderMark, makeFolder } from '#files';
import { EspalierError, invalidField, toEspalierError, type engineV1 } from '#protocol';
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
import { ENGINES_MAX, readFleetFile } from './fleet-file.js';
import { FleetJobs, type FleetJob } from './fleet-jobs.js';
import { readLimit, writeLimit, type FleetLimit } from './fleet-limit.js';
import type { FleetSettings } from './fleet-settings.js';
import { FleetToken } from './fleet-token.js';
import { endWords, waitWords } from './fleet-words.js';
import type { JobFact, JobHost } from './job-host.js';
import { removeOldLogs } from './job-logs.js';
import { askJoinAddress } from './join-check.js';
import { KubernetesHost } from './kubernetes-host.js';
import { POD_FILES } from './kubernetes-pod.js';
import { LocalHost } from './local-host.js';
import { SlurmHost } from './slurm-host.js';

/** The least time between two looks. The number of waiting runs may change many times a second. */
const LEAST_BETWEEN_LOOKS_MS = 1_000;
/** How often old logs of jobs are looked for. */
const BETWEEN_SWEEPS_MS = 3_600_000;
/** The first part of the names of tokens by which the engines of fleets join, as arrivals have them. */
const BY_FLEET_TOKEN = 'token:fleet-';
/** The bytes of a gigabyte, as Slurm and Kubernetes count them. */
const GB = 2 ** 30;

/** The state of the fleet for clients. */
export interface FleetView {
  settings: FleetSettings;
  /** The most engines now: those of the file, or of the limit. */
  most: number;
  limit: FleetLimit | null;
  jobs: readonly FleetJob[];
  ended: readonly FleetJob[];
  /** The jobs that may bring an engine and are not this fleet's by their mark. */
  strays: readonly JobFact[];
  /** The engines that joined by a token of a fleet and are those of no job that is listed. */
  strayEngines: readonly string[];
  problem: EspalierError | null;
  /** The mistake in the file for which the settings before it still hold, or null. */
  fileProblem: EspalierError | null;
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
  /** Whether the problem is that of a job, which no look at the jobs disproves. */
  private isOfJob = false;
  private fileProblem: EspalierError | null = null;
  private strays: readonly JobFact[] = [];
  private limit: FleetLimit | null = null;
  private sweptAtMs = -Infinity;
  /** Whether the server at the address to join is known not to be another one. */
  private knowsAddress = false;
  private listen = '';
  private failures = 0;
  private notBeforeMs = 0;
  private surplusSinceMs: number | null = null;
  private lookedAtMs = -Infinity;
  private loop: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;

  constructor(
    @Inject(FLEET) private settings: FleetSettings | null,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(JoinedEngines) private readonly joined: JoinedEngines,
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
    @Inject(DriverLease) private readonly lease: Pick<DriverLease, 'held' | 'onChange'>,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder' | 'fleet' | 'tls'>,
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
    this.listen = listen;
    const { logs, tokenFile } = this.places(settings);
    asOwnerOnly(() => {
      for (const one of [logs, dirname(tokenFile), dirname(this.limitFile)]) makeFolder(one);
    });
    try {
      this.limit = readLimit(this.limitFile);
    } catch (error) {
      this.log.warn(
        { file: this.limitFile },
        `the limit of the fleet can't be read, and max_engines of its file holds: ${(error as Error).message}`,
      );
    }
    this.host = this.hostOf(settings);
    try {
      this.host.requireFiles?.();
    } catch (error) {
      this.fails(toEspalierError(error), { pauses: false }); // the user may mend the file before a run waits
    }
    this.lease.onChange(() => this.wake());
    this.pool.onChange(() => this.noteEngines());
    this.loop = this.work();
  }

  private places(settings: FleetSettings): { join: string; logs: string; tokenFile: string } {
    const folder = join(this.config.dataFolder, 'fleet');
    return {
      join: settings.join ?? ownAddress(this.listen),
      logs: settings.logs ?? join(folder, 'logs'),
      tokenFile: settings.tokenFile ?? join(folder, 'token'),
    };
  }

  private get limitFile(): string {
    return join(this.config.dataFolder, 'fleet', 'limit.json');
  }

  private hostOf(settings: FleetSettings): JobHost {
    const { join, logs } = this.places(settings);
    const { slurm, kubernetes, tlsCa } = settings;
    const commandOf = this.commandOf(settings);
    const wishes = { cpus: settings.cpus, cards: settings.cards, memoryGb: settings.memoryGb };
    const mark = { fleetId: this.fleetId(), folderId: digest(this.folderId), addressId: digest(join) };
    const jobs = { mark, specId: digest([slurm ?? kubernetes, wishes, logs, commandOf('')]), wishes, commandOf };
    if (slurm !== null) return new SlurmHost({ ...jobs, settings: slurm, logs });
    if (kubernetes !== null) return new KubernetesHost({ ...jobs, settings: kubernetes }, tlsCa);
    return new LocalHost(commandOf, logs);
  }

  private commandOf(settings: FleetSettings): (engine: string) => string[] {
    const { join, tokenFile } = this.places(settings);
    const { kubernetes, tlsCa } = settings;
    const inPod = { tokenFile: POD_FILES.token, tlsCa: tlsCa === null ? null : POD_FILES.authority };
    const files = { join, ...(kubernetes === null ? { tokenFile, tlsCa } : inPod) };
    return (engine) => engineCommand(settings, files, engine);
  }

  private get token(): FleetToken {
    return new FleetToken(this.tokens, this.given.name, this.places(this.given).tokenFile);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.loop;
  }

  get view(): FleetView | null {
    const { settings, jobs, problem, fileProblem, notBefore, most, strays, strayEngines } = this;
    if (settings === null) return null;
    const limit = this.limitNow;
    const all = { jobs: jobs.all, ended: jobs.ended, strays, strayEngines };
    return { settings, most, limit, ...all, problem, fileProblem, notBefore, waitsFor: this.words() };
  }

  /** The fleet's settings. A server without them asks for no engine and starts no job. */
  private get given(): FleetSettings {
    if (this.settings === null) throw new TypeError('there is no fleet');
    return this.settings;
  }

  get most(): number {
    return this.limitNow?.maxEngines ?? this.settings?.maxEngines ?? 0;
  }

  /** The limit, unless the file's number has changed since it was set. */
  private get limitNow(): FleetLimit | null {
    return this.limit !== null && this.limit.inPlaceOf === this.settings?.maxEngines ? this.limit : null;
  }

  private get notBefore(): Date | null {
    return this.notBeforeMs > Date.now() ? new Date(this.notBeforeMs) : null;
  }

  /** The engines of a fleet that are here though no job of theirs is listed. */
  private get strayEngines(): string[] {
    const known = new Set([...this.jobs.all, ...this.strays].map(({ engine }) => engine));
    return this.pool.slots.flatMap(({ name, connector: { joined } }) =>
      joined?.isConnected === true && joined.admittedAs.startsWith(BY_FLEET_TOKEN) && !known.has(name) ? [name] : [],
    );
  }

  /**
   * Sets the most engines in place of the file's number. That number itself ends the limit.
   * @param isDrained whether engines that work end once their work is done
   * @throws EspalierError FLEET_ABSENT, FIELD_OUT_OF_RANGE
   */
  setMost(maxEngines: number, by: string, { isDrained = false } = {}): void {
    if (this.settings === null) throw absent();
    const { maxEngines: inPlaceOf } = this.settings;
    if (maxEngines > ENGINES_MAX)
      throw invalidField('FIELD_OUT_OF_RANGE', 'max_engines', `must be at most ${ENGINES_MAX}, is ${maxEngines}`);
    const limit = { maxEngines, isDrained, by, at: new Date().toISOString(), inPlaceOf };
    this.limit = maxEngines === inPlaceOf && !isDrained ? null : limit;
    writeLimit(this.limitFile, this.limit);
    this.log.info({ maxEngines, by }, isDrained ? 'the fleet is drained' : 'the most engines of the fleet are set');
    this.wake();
  }

  /**
   * Cancels jobs for a person: those of the fleet, and strays.
   * @throws EspalierError FLEET_ABSENT, FLEET_JOB_NOT_FOUND, FLEET_UNREACHABLE
   */
  async cancel(ids: readonly string[], by: string): Promise<void> {
    const { host } = this;
    if (host === null) throw absent();
    const known = new Set([...this.jobs.all, ...this.strays].map(({ id }) => id));
    const unknown = ids.find((id) => !known.has(id));
    if (unknown !== undefined)
      throw new EspalierError('FLEET_JOB_NOT_FOUND', `the fleet has no job ${unknown}: espalier fleet lists those that wait or run`);
    await host.cancel(ids);
    this.jobs.cancelled(ids);
    this.log.info({ jobs: ids, by }, 'jobs of the fleet are cancelled by command');
    this.wake();
  }

  wants(count: number): void {
    if (count === this.wanted) return;
    this.wanted = count;
    this.wake();
  }

  words(): string {
    const { wanted, most, problem, strays, notBefore } = this;
    const isDrained = this.limitNow?.isDrained === true;
    return waitWords({ wanted, most, problem, strays, isDrained, jobs: this.jobs.all, notBefore });
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

  private async work(): Promise<void> {
    let isFirst = true;
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.readFileAgain();
      if (this.lease.held && (isFirst || this.hasWork)) {
        await this.pauseUntil(this.lookedAtMs + LEAST_BETWEEN_LOOKS_MS);
        if (this.stopping.signal.aborted) return;
        isFirst = !(await this.round()) && isFirst;
      }
      if (this.lease.held && !isFirst) await this.sweepLogs();
      const timer = setTimeout(() => this.wake(), this.given.pollSeconds * 1_000);
      await woken;
      clearTimeout(timer);
    }
  }

  /** Whether the cluster has to be asked. A problem is looked into until it is over, so that an idle fleet does not keep it. */
  private get hasWork(): boolean {
    return (
      this.wanted > 0 || this.jobs.all.length > 0 || this.strays.length > 0 || this.problem !== null || this.limitNow?.isDrained === true
    );
  }

  /** Reads the file again. With a mistake in it the settings before it hold. */
  private readFileAgain(): void {
    const { fleet: path, tls } = this.config;
    try {
      const now = readFleetFile(path, tls !== undefined);
      this.fileProblem = null;
      if (now === null || JSON.stringify(now) === JSON.stringify(this.settings)) return;
      const fixed = (['kind', 'tokenFile', 'logs'] as const).find((key) => now[key] !== this.given[key]);
      if (fixed !== undefined) {
        const key = { kind: 'kind', tokenFile: 'token_file', logs: 'logs' }[fixed];
        throw new EspalierError('CONFIG_INVALID', `--fleet: ${key} has changed, which needs a restart of the server`);
      }
      const before = this.given;
      this.settings = now;
      this.knowsAddress &&= now.join === before.join && now.tlsCa === before.tlsCa;
      if (now.kind === 'local') (this.host as LocalHost).commandOf = this.commandOf(now);
      else this.host = this.hostOf(now);
      Object.assign(this, { failures: 0, notBeforeMs: 0 }); // the file may have been mended
      this.log.info({ file: path, maxEngines: now.maxEngines }, 'the file of the fleet has changed, and holds from now on');
      if (now.name !== before.name)
        this.log.warn(
          { before: before.name, now: now.name },
          'the fleet has another name: its jobs until now are strays, which take places',
        );
    } catch (thrown) {
      const error = toEspalierError(thrown);
      if (error.message !== this.fileProblem?.message)
        this.log.warn({ code: error.code }, `the file of the fleet has changed, and does not hold: ${error.message}`);
      this.fileProblem = error;
    }
  }

  /** Looks once, and acts on the result. Returns false where the jobs are not known. Never throws. */
  private async round(): Promise<boolean> {
    this.lookedAtMs = performance.now();
    const host = this.host!;
    try {
      host.requireFiles?.();
      const found = await host.look();
      const now = performance.now();
      const own = found.filter(({ owner }) => owner === 'fleet');
      const over = this.jobs.update(own, (engine) => this.engineOf(engine), now);
      this.noteStrays(found.filter(({ owner, stage }) => owner === 'stray' && (stage === 'waiting' || stage === 'running')));
      // A look disproves what it does not find. A refusal or failure of a job is shown for as long as work waits for another job.
      if (this.problem?.code === 'FLEET_UNREACHABLE' || !this.isOfJob || this.wanted === 0) this.problem = null;
      if (this.jobs.hasLasting(now)) this.failures = 0;
      for (const job of over) this.ended(job, host);
      this.noteEngines();
      await this.requireOwnAddress();
      await this.act(host);
      return true;
    } catch (error) {
      this.fails(toEspalierError(error), { pauses: false });
      return false;
    }
  }

  private noteStrays(strays: readonly JobFact[]): void {
    const before = new Set(this.strays.map(({ id }) => id));
    this.strays = strays;
    const fresh = strays.filter(({ id }) => !before.has(id)).map(({ id }) => id);
    if (fresh.length === 0) return;
    const why = 'they are those of a fleet of another name, or of a data folder that lay elsewhere, as before a restore';
    this.log.warn({ jobs: fresh }, `jobs take places of the fleet and are not its own: ${why}; espalier fleet cancel JOB ends one`);
  }

  private async sweepLogs(): Promise<void> {
    if (performance.now() - this.sweptAtMs < BETWEEN_SWEEPS_MS) return;
    this.sweptAtMs = performance.now();
    const days = this.given.keepLogsDays;
    const alive = new Set([...this.jobs.all, ...this.strays].map(({ engine }) => engine));
    try {
      const logs = await removeOldLogs(this.places(this.given).logs, days, (engine) => alive.has(engine));
      if (logs.length > 0) this.log.info({ logs, days }, 'logs of jobs are removed: keep_logs_days is over');
    } catch (error) {
      this.log.warn(`old logs of jobs can't be removed: ${(error as Error).message}`);
    }
  }

  /** @throws EspalierError FLEET_ADDRESS_WRONG where another server answers at the address at which the engines would join */
  private async requireOwnAddress(): Promise<void> {
    const { join, tlsCa } = this.given;
    if (this.knowsAddress || join === null) return;
    const answer = await askJoinAddress(join, tlsCa, await this.token.ensure());
    if (answer === 'other')
      throw new EspalierError(
        'FLEET_ADDRESS_WRONG',
        `join: another server answers at ${join}, and would refuse the engines. Each server needs a file of its own with its own address`,
      );
    this.knowsAddress = true;
    if (answer !== 'ours') this.log.warn({ join }, `the address at which engines join can't be reached from here: ${answer.unreachable}`);
  }

  private async act(host: JobHost): Promise<void> {
    const now = performance.now();
    const isDrained = this.limitNow?.isDrained === true;
    if (isDrained) this.endAfterWork();
    const { submit, cancel, surplus } = decideFleet({
      wanted: this.wanted,
      most: this.most,
      strays: this.strays.length + this.strayEngines.length,
      isDrained,
      jobs: this.jobs.views((engine) => this.engineOf(engine), now),
      failures: this.failures,
      mayAsk: Date.now() >= this.notBeforeMs,
      surplusForMs: this.surplusSinceMs === null ? 0 : now - this.surplusSinceMs,
      idleMs: this.given.idleSeconds * 1_000,
    });
    this.surplusSinceMs = surplus === 0 ? null : (this.surplusSinceMs ?? now);
    if (cancel.length > 0) {
      this.log.info(
        { jobs: cancel },
        isDrained ? 'jobs of the fleet are cancelled: it is drained' : 'jobs of the fleet are cancelled: no run needs them',
      );
      await host.cancel(cancel);
      this.jobs.cancelled(cancel);
    }
    for (let count = 0; count < submit && !this.stopping.signal.aborted; count += 1) {
      const engine = `${this.given.name}-${randomBytes(4).toString('hex')}`;
      try {
        const id = await host.submit(engine, await this.token.ensure());
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
    if (!this.jobs.hasFailed(job, performance.now())) return;
    job.lastLine = host.lastLineOf(job);
    const when = job.hasJoined ? 'soon after' : 'before';
    const said = job.lastLine === '' ? '' : `; its last line: ${job.lastLine}`;
    const message = `${endWords(job)} ${when} its engine joined${said}; its output: ${host.logOf(job)}`;
    this.fails(new EspalierError('FLEET_JOB_FAILED', message), { pauses: true });
  }

  private fails(error: EspalierError, { pauses }: { pauses: boolean }): void {
    if (error.message !== this.problem?.message) this.log.warn({ code: error.code }, `the fleet: ${error.message}`);
    this.problem = error;
    this.isOfJob = pauses;
    if (!pauses) return;
    this.failures += 1;
    this.tallies.fleetJobFailures.inc();
    this.notBeforeMs = Date.now() + pauseAfterFailuresMs(this.failures);
  }

  /** Lets the engines of a drained fleet take no more work. */
  private endAfterWork(): void {
    for (const { engine } of this.jobs.all) {
      const slot = this.pool.slot(engine);
      if (slot?.setAsideFor === null) slot.setAside(new EspalierError('ENGINE_LEFT', 'an admin has drained the fleet'));
    }
  }

  /** Notes engines that have joined. One that has shows that jobs can be had, so a pause ends. It is forgotten once an engine lasts. */
  private noteEngines(): void {
    const isNew = this.jobs.noteJoined((engine) => this.engineOf(engine), performance.now());
    if (!isNew) return;
    Object.assign(this, { notBeforeMs: 0, problem: null });
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

function absent(): EspalierError {
  return new EspalierError('FLEET_ABSENT', 'the server has no fleet: espalier up --fleet FILE starts one with it');
}

function digest(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

function ownAddress(listen: string): string {
  return `http://${listen.replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:')}`;
}
