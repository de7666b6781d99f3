// Brings engines when runs wait for one. It looks at the jobs, decides, and acts, in turn. The host remembers the jobs, so a new process
// goes on where the last one ended (docs/design/fleets.md). The file is read again at each turn of the loop.
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { asOwnerOnly, FLEET_FOLDER, folderMark, makeFolder } from '#files';
import { EspalierError, invalidField, toEspalierError, type engineV1 } from '#protocol';
import { TokenKeeper } from '../access/token-keeper.js';
import type { OrchestratorConfig } from '../config.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineSource, RunInNeed, RunToFit } from '../engine-pool/engine-source.js';
import type { EngineSlot } from '../engine-pool/engine-slot.js';
import { JoinedEngines } from '../engine-pool/joined-engines.js';
import { sessionOptions } from '../engines/wire/engine-requests.js';
import { Tallies } from '../monitoring/tallies.js';
import { DriverLease } from '../storage/driver-lease.js';
import { FLEET, FOLDER_ID, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { engineCommand } from './engine-command.js';
import { decideFleet, type LaneView } from './fleet-decision.js';
import { ENGINES_MAX, readFleetFile } from './fleet-file.js';
import { FleetJobs, type FleetJob } from './fleet-jobs.js';
import { readLimit, writeLimit, type FleetLimit } from './fleet-limit.js';
import type { FleetSettings, JobKind } from './fleet-settings.js';
import { FleetToken } from './fleet-token.js';
import { endWords, unservedWords, waitWords } from './fleet-words.js';
import { GB, JobChoice, lackOfMemory } from './job-choice.js';
import type { JobFact, JobHost } from './job-host.js';
import { JobLane, kindOfEngine, laneKey, laneParts, newEngineName } from './job-lanes.js';
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
const NOT_BARRED: ReadonlySet<string> = new Set();

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
  /** The runs that no engine can take now, in the order of their turn. */
  private waiting: readonly RunInNeed[] = [];
  /** Whether other work than runs needs an engine. */
  private needsAny = false;
  /** The reason why no job at all can be had now, or null. Those of a lane are the lane's. */
  private problem: EspalierError | null = null;
  private readonly lanes = new Map<string, JobLane>();
  private readonly choice = new JobChoice((run, cpus) => this.plannedBytes(run, cpus));
  private fileProblem: EspalierError | null = null;
  private strays: readonly JobFact[] = [];
  private limit: FleetLimit | null = null;
  private sweptAtMs = -Infinity;
  /** Whether the server at the address to join is known not to be another one. */
  private knowsAddress = false;
  private listen = '';
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
      this.isOut(toEspalierError(error)); // the user may mend the file before a run waits
    }
    this.lease.onChange(() => this.wake());
    this.pool.onChange(() => this.noteEngines());
    this.loop = this.work();
  }

  private places(settings: FleetSettings): { join: string; logs: string; tokenFile: string } {
    const folder = join(this.config.dataFolder, FLEET_FOLDER);
    return {
      join: settings.join ?? ownAddress(this.listen),
      logs: settings.logs ?? join(folder, 'logs'),
      tokenFile: settings.tokenFile ?? join(folder, 'token'),
    };
  }

  private get limitFile(): string {
    return join(this.config.dataFolder, FLEET_FOLDER, 'limit.json');
  }

  private hostOf(settings: FleetSettings): JobHost {
    const { join, logs } = this.places(settings);
    const { tlsCa } = settings;
    const commandOf = this.commandOf(settings);
    const mark = { fleetId: this.fleetId(), folderId: digest(this.folderId), addressId: digest(join) };
    const jobs = settings.jobs.map((kind) => {
      const wishes = { cpus: kind.cpus, cards: kind.cards, memoryGb: kind.memoryGb };
      const words = (engine: string): string[] => commandOf(engine, kind);
      return { kind, mark, wishes, logs, commandOf: words, specId: digest([kind.slurm ?? kind.kubernetes, wishes, logs, words('')]) };
    });
    const jobFor = (engine: string) => jobs.find(({ kind }) => kind.name === kindOfEngine(settings.name, engine));
    const finder = { mark, specIdOf: (engine: string) => jobFor(engine)?.specId };
    const [{ slurm, kubernetes }] = settings.jobs;
    if (slurm !== null)
      return new SlurmHost(finder, logs, (engine) => {
        const job = jobFor(engine)!;
        return { ...job, settings: job.kind.slurm! };
      });
    if (kubernetes !== null) {
      const jobOf = (engine: string) => {
        const job = jobFor(engine)!;
        return { ...job, settings: job.kind.kubernetes! };
      };
      return new KubernetesHost(finder, jobOf, { mark, settings: kubernetes }, tlsCa);
    }
    return new LocalHost(this.localCommandOf(settings), logs);
  }

  private commandOf(settings: FleetSettings): (engine: string, kind: JobKind) => string[] {
    const { join, tokenFile } = this.places(settings);
    const { kind, tlsCa } = settings;
    const inPod = { tokenFile: POD_FILES.token, tlsCa: tlsCa === null ? null : POD_FILES.authority };
    const files = { join, ...(kind === 'kubernetes' ? inPod : { tokenFile, tlsCa }) };
    return (engine, job) => engineCommand(job, files, engine);
  }

  private localCommandOf(settings: FleetSettings): (engine: string) => string[] {
    const commandOf = this.commandOf(settings);
    return (engine) =>
      commandOf(
        engine,
        settings.jobs.find(({ name }) => name === kindOfEngine(settings.name, engine))!,
      );
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
    const { settings, jobs, fileProblem, most, strays, strayEngines } = this;
    if (settings === null) return null;
    const limit = this.limitNow;
    const all = { jobs: jobs.all, ended: jobs.ended, strays, strayEngines };
    const troubled = [...this.lanes.values()].find((lane) => lane.problem !== null);
    const problem = this.problem ?? troubled?.problem ?? null;
    const notBefore = troubled === undefined ? latest([...this.lanes.values()].map((lane) => lane.notBefore)) : troubled.notBefore;
    return { settings, most, limit, ...all, problem, fileProblem, notBefore, waitsFor: this.waitsFor };
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

  /** Whether the number of engines is one that an admin has set to let the fleet end. */
  private get isDrained(): boolean {
    return this.limitNow?.isDrained === true;
  }

  private laneOf(key: string): JobLane {
    const lane = this.lanes.get(key) ?? new JobLane(key);
    this.lanes.set(key, lane);
    return lane;
  }

  private laneOfJob({ engine, account }: Pick<JobFact, 'engine' | 'account'>): string {
    return laneKey(kindOfEngine(this.given.name, engine) ?? '', account);
  }

  /** The kind of job that has brought or will bring this engine, or null for an engine that is not of the fleet. */
  private kindOf(engine: string): string | null {
    return this.jobs.of(engine) === undefined ? null : kindOfEngine(this.given.name, engine);
  }

  private accountOf({ caller }: Pick<RunInNeed, 'caller'>): string {
    const { accounts } = this.given;
    return Object.hasOwn(accounts, caller) ? accounts[caller]! : '';
  }

  /** The lanes whose engines can take the run, a preferred one first. */
  private lanesFor(run: RunInNeed): string[] {
    const nowMs = performance.now();
    const account = this.accountOf(run);
    return this.given.jobs.flatMap((kind) => (this.choice.whyNot(run, kind, nowMs) === null ? [laneKey(kind.name, account)] : []));
  }

  /** The engines of a fleet that are here though no job of theirs is listed. */
  private get strayEngines(): string[] {
    const known = new Set([...this.jobs.all, ...this.strays].map(({ engine }) => engine));
    return this.pool.slots.flatMap((slot) =>
      isOfFleet(slot) && slot.connector.joined?.isConnected === true && !known.has(slot.name) ? [slot.name] : [],
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

  wants(runs: readonly RunInNeed[], needsAny: boolean): void {
    const before = this.waiting;
    const isSame =
      runs.length === before.length && needsAny === this.needsAny && runs.every(({ runId }, at) => runId === before[at]!.runId);
    this.waiting = runs;
    this.needsAny = needsAny;
    this.choice.note(
      runs,
      (engine) => this.kindOf(engine),
      (engine) => this.given.jobs.length > 1 && this.engineOf(engine) === 'free',
      performance.now(),
    );
    if (!isSame) this.wake();
  }

  words(run: RunInNeed): string {
    return this.wordsFor(this.lanesFor(run), () => {
      const nowMs = performance.now();
      return unservedWords(this.given.jobs.map((kind) => [kind.name, this.choice.whyNot(run, kind, nowMs) ?? ''] as const));
    });
  }

  /** @param unserved says why where no lane suits */
  private wordsFor(keys: readonly string[], unserved: () => string): string {
    const { most, strays, isDrained } = this;
    const lanes = keys.map((key) => this.laneOf(key));
    if (!isDrained && this.problem === null && lanes.length === 0) return unserved();
    const problem = this.problem ?? (lanes.every((lane) => lane.problem !== null) ? (lanes[0]?.problem ?? null) : null);
    const pauses = lanes.map((lane) => lane.notBefore);
    const notBefore = pauses.includes(null) ? null : earliest(pauses);
    const suits = (job: FleetJob): boolean => keys.includes(this.laneOfJob(job));
    return waitWords({ most, problem, strays, isDrained, jobs: this.jobs.all, suits, notBefore });
  }

  /** Why work waits for the fleet, or '' where none does. */
  private get waitsFor(): string {
    const [run] = this.waiting;
    if (run !== undefined) return this.words(run);
    return this.needsAny ? this.wordsFor(this.lanesForAny, () => '') : '';
  }

  /** The lanes whose engines can do other work than runs. */
  private get lanesForAny(): string[] {
    return this.given.jobs.map(({ name }) => laneKey(name, ''));
  }

  barred(run: RunInNeed): ReadonlySet<string> {
    const { jobs: kinds, accounts } = this.given;
    const hasAccounts = Object.keys(accounts).length > 0;
    if (kinds.length === 1 && !hasAccounts) return NOT_BARRED;
    const names = this.pool.slots.filter(isOfFleet).map(({ name }) => name);
    return new Set(names.filter((name) => (hasAccounts && !this.isOfAccount(name, run)) || this.isTooSmall(name, run)));
  }

  /** Whether the engine's job runs in the account of the run's caller. A job that no look has found yet may run in any. */
  private isOfAccount(engine: string, run: RunInNeed): boolean {
    const job = this.jobs.of(engine) ?? this.strays.find((stray) => stray.engine === engine);
    return job?.account === this.accountOf(run);
  }

  /** Whether the engine lacks memory for a run that another kind of job can take. */
  private isTooSmall(engine: string, run: RunInNeed): boolean {
    const kind = this.given.jobs.find(({ name }) => name === this.kindOf(engine));
    if (kind === undefined) return false;
    const isLacking = this.choice.memoryProblem(run, kind) !== null || lackOfMemory(run.fits.get(engine)) !== null;
    return isLacking && this.given.jobs.some((other) => other !== kind && this.choice.whyNot(run, other, performance.now()) === null);
  }

  /**
   * Plans the memory of a run. It compares the need with the memory of the largest job where the fleet's settings give that. Otherwise the
   * engine reports what is missing once it has joined.
   */
  async planMemory(run: RunToFit): Promise<engineV1.PlanMemoryResponse> {
    const { kind, jobs } = this.given;
    const plan = await this.planned(run, jobs[0].cpus);
    if (kind === 'local') return plan;
    const known = jobs.map(({ cards, memoryGb }) => (cards === null && memoryGb !== null ? BigInt(memoryGb * GB) : plan.totalBytes));
    const availableBytes = known.reduce((most, bytes) => (bytes > most ? bytes : most));
    return { ...plan, availableBytes, hostAvailableBytes: plan.hostBytes };
  }

  private planned(run: RunToFit, cpus: number): Promise<engineV1.PlanMemoryResponse> {
    return this.pool.question((client) => client.planMemory(sessionOptions(run, cpus)));
  }

  private async plannedBytes(run: RunToFit, cpus: number): Promise<number> {
    return Number((await this.planned(run, cpus)).totalBytes);
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
    const hasProblem = this.problem !== null || [...this.lanes.values()].some(({ problem }) => problem !== null);
    const isWanted = this.waiting.length > 0 || this.needsAny;
    return isWanted || this.jobs.all.length > 0 || this.strays.length > 0 || hasProblem || this.isDrained;
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
      if (now.kind === 'local') (this.host as LocalHost).commandOf = this.localCommandOf(now);
      else this.host = this.hostOf(now);
      this.lanes.clear(); // the file may have been mended
      this.choice.clear();
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
      this.problem = null;
      const wanted = this.wantedLanes();
      for (const lane of this.lanes.values())
        if (lane.problem?.code === 'FLEET_UNREACHABLE' || !wanted.some((keys) => keys.includes(lane.key))) lane.problem = null;
      for (const job of this.jobs.lasting(now)) this.laneOf(this.laneOfJob(job)).failures = 0;
      for (const job of over) this.ended(job, host);
      this.noteEngines();
      await this.requireOwnAddress();
      await this.choice.planMemory(this.waiting, this.given.jobs);
      await this.act(host);
      return true;
    } catch (error) {
      this.isOut(toEspalierError(error));
      return false;
    }
  }

  /** For each run that waits, and for other work: the lanes whose engines can take it. Those that no lane can take are left out. */
  private wantedLanes(): string[][] {
    const all = this.waiting.map((run) => this.lanesFor(run));
    return [...all, ...(this.needsAny ? [this.lanesForAny] : [])].filter((keys) => keys.length > 0);
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
    const { isDrained } = this;
    if (isDrained) this.endAfterWork();
    const { submit, cancel, surplus } = decideFleet({
      wanted: this.wantedLanes(),
      most: this.most,
      strays: this.strays.length + this.strayEngines.length,
      isDrained,
      jobs: this.jobs.views(
        (engine) => this.engineOf(engine),
        (job) => this.laneOfJob(job),
        now,
      ),
      lane: (key) => this.laneView(key, now),
    });
    for (const key of surplus.keys()) this.laneOf(key).surplusSinceMs ??= now;
    for (const lane of this.lanes.values()) if (!surplus.has(lane.key)) lane.surplusSinceMs = null;
    if (cancel.length > 0) {
      this.log.info(
        { jobs: cancel },
        isDrained ? 'jobs of the fleet are cancelled: it is drained' : 'jobs of the fleet are cancelled: no run needs them',
      );
      await host.cancel(cancel);
      this.jobs.cancelled(cancel);
    }
    const refused = new Set<string>();
    for (const key of submit) {
      if (this.stopping.signal.aborted) return;
      if (refused.has(key)) continue;
      const error = await this.askFor(host, this.laneOf(key));
      if (error?.code === 'FLEET_UNREACHABLE') return;
      if (error !== null) refused.add(key);
    }
  }

  private laneView(key: string, now: number): LaneView {
    const { failures, notBefore, surplusSinceMs } = this.laneOf(key);
    const { kind } = laneParts(key);
    const { idleSeconds } = this.given.jobs.find(({ name }) => name === kind) ?? this.given.jobs[0];
    const surplusForMs = surplusSinceMs === null ? 0 : now - surplusSinceMs;
    return { failures, mayAsk: notBefore === null, surplusForMs, idleMs: idleSeconds * 1_000 };
  }

  /** Asks for a job. Returns the host's refusal, or null where the job was accepted. */
  private async askFor(host: JobHost, lane: JobLane): Promise<EspalierError | null> {
    const { kind, account } = laneParts(lane.key);
    const engine = newEngineName(this.given.name, kind);
    try {
      const id = await host.submit(engine, account, await this.token.ensure());
      this.jobs.asked(id, engine, account);
      lane.problem = null;
      this.log.info({ job: id, engine, ...(account === '' ? {} : { account }) }, 'a job of the fleet was asked for');
      return null;
    } catch (error) {
      return this.failsIn(lane, toEspalierError(error));
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
    this.failsIn(this.laneOf(this.laneOfJob(job)), new EspalierError('FLEET_JOB_FAILED', message));
  }

  /** Notes that no job can be had or found now. */
  private isOut(error: EspalierError): void {
    this.tell(error, this.problem);
    this.problem = error;
  }

  /** Notes that a job was refused or has failed. */
  private failsIn(lane: JobLane, error: EspalierError): EspalierError {
    const before = lane.problem;
    const problem = lane.fails(error);
    this.tell(problem, before);
    this.tallies.fleetJobFailures.inc();
    return problem;
  }

  private tell({ code, message }: EspalierError, before: EspalierError | null): void {
    if (message !== before?.message) this.log.warn({ code }, `the fleet: ${message}`);
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
    const joined = this.jobs.noteJoined((engine) => this.engineOf(engine), performance.now());
    if (joined.length === 0) return;
    for (const job of joined) Object.assign(this.laneOf(this.laneOfJob(job)), { notBeforeMs: 0, problem: null });
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

function isOfFleet({ connector: { joined } }: EngineSlot): boolean {
  return joined?.admittedAs.startsWith(BY_FLEET_TOKEN) === true;
}

function earliest(times: readonly (Date | null)[]): Date | null {
  const known = times.flatMap((time) => (time === null ? [] : [time.getTime()]));
  return known.length === 0 ? null : new Date(Math.min(...known));
}

function latest(times: readonly (Date | null)[]): Date | null {
  const known = times.flatMap((time) => (time === null ? [] : [time.getTime()]));
  return known.length === 0 ? null : new Date(Math.max(...known));
}

function digest(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

function ownAddress(listen: string): string {
  return `http://${listen.replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:')}`;
}
