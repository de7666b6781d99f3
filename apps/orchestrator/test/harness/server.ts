// The real processes under test: an orchestrator with its engine and event store as children, which tests kill and start as they like.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ChannelCredentials, makeClientConstructor, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { programFile, TOKEN_FILE } from '#files';
import { bearerToken, EspalierError, fromServiceError, v1 } from '#protocol';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const MAIN = programFile(new URL('../../src/main.js', import.meta.url));
export const TINY_MODEL = join(ROOT, 'testdata/models/gqa-random-tiny');
export const FACTBOOK_MODEL = join(ROOT, 'examples/models/factbook-llama-3m');
export const TRAINING_DATA = join(ROOT, 'examples/data/factbook/train.jsonl');
export const FACTBOOK_VALIDATION = join(ROOT, 'examples/data/factbook/validation.jsonl');
/** The beginnings of the bundled validation set's documents: enough text for a small run, and quick to evaluate. */
export const CORPUS = smallCorpus(FACTBOOK_VALIDATION);
/** After this time a test counts as hanging. Until then the machine may take as long as it needs. */
export const HANGS_AFTER_MS = 240_000;

export type Part = 'engine' | 'store' | 'orchestrator';

/**
 * How often a test looks at a run that it will disturb at some step. Looking more often shows no more, and costs much of a processor: the
 * server of a test records every 20 ms.
 */
export const CLOSELY_MS = 25;

/** Tells whether no job of the fleet waits or runs. */
export const isEmpty = ({ jobs }: v1.Fleet): boolean => jobs.length === 0;

/** How often a disturbance may come too late, when its run is over already. */
const DISTURBANCES_MAX = 12;

/** Tells whether the moment has come. It counts as come where the run is over. */
type Moment = (run: v1.Run) => boolean;

interface Disturbance {
  launch: () => Promise<v1.Run>;
  when: Moment;
  /**
   * Disturbs the run. Returns whether the disturbance came in time; without a result, the run must need another attempt. It rejects where
   * the run has ended before, which means too late.
   */
  by: (runId: string) => Promise<unknown>;
}

export type LaunchParts = Omit<Partial<v1.LaunchRunRequest>, 'data'> & { data?: Partial<v1.DataSource> };

export class TestServer {
  private child: ChildProcess | null = null;
  private client: v1.RunServiceClient | null = null;
  private historyClient: v1.HistoryServiceClient | null = null;
  private artifactClient: v1.ArtifactServiceClient | null = null;
  private studyClient: v1.StudyServiceClient | null = null;
  private pageClient: v1.PageServiceClient | null = null;
  private accessClient: v1.AccessServiceClient | null = null;
  private engineClient: v1.EngineServiceClient | null = null;
  private address = '';
  /** Processes that lost their orchestrator by a kill. They must be gone before the next one starts. */
  private orphans: number[] = [];

  /** The number of threads of the engine. Another number gives other numerics. It takes effect at the next start. */
  threads = 1;

  /** More options of the command line. They take effect at the next start. */
  options: string[] = [];

  /** The user and group that the server runs as; null: those of the test. It takes effect at the next start. */
  userId: number | null = null;

  /** The address of the web server. It takes effect at the next start. */
  web = 'off';
  private page = '';

  constructor(
    readonly dataFolder: string,
    private readonly env: Record<string, string> = {},
  ) {}

  static inNewFolder(env: Record<string, string> = {}): TestServer {
    return new TestServer(mkdtempSync(join(tmpdir(), 'espalier-test-')), env);
  }

  async start(): Promise<void> {
    const log = openSync(join(this.dataFolder, 'server.log'), 'a');
    const { userId } = this;
    if (userId !== null) chownSync(this.dataFolder, userId, userId);
    const child = spawn(
      process.execPath,
      [
        ...['--no-memory-reducer', MAIN, '--data-folder', this.dataFolder],
        ...['--listen', '127.0.0.1:0', '--web', this.web, '--threads', String(this.threads)],
        ...this.options,
      ],
      {
        // Runs here are a hundred times shorter than real ones. With this interval some of their segments are recorded together and some
        // alone.
        stdio: ['ignore', 'pipe', log],
        ...(userId === null ? {} : { uid: userId, gid: userId }),
        env: { ...process.env, ESPALIER_RECORD_INTERVAL_MS: '20', ...this.env },
      },
    );
    closeSync(log);
    this.child = child;
    const timer = setTimeout(() => child.kill('SIGKILL'), HANGS_AFTER_MS);
    const lines = createInterface({ input: child.stdout! });
    const line = await Promise.race([once(lines, 'line').then(([text]) => String(text)), once(child, 'exit').then(() => null)]);
    clearTimeout(timer);
    if (line === null) throw new Error(`the orchestrator ended while starting:\n${this.logTail()}`);
    const { listen, web } = JSON.parse(line) as { listen: string; web?: string };
    this.address = listen;
    this.page = web ?? '';
    const options = bearerToken(this.token);
    this.client = new v1.RunServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.historyClient = new v1.HistoryServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.artifactClient = new v1.ArtifactServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.studyClient = new v1.StudyServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.pageClient = new v1.PageServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.accessClient = new v1.AccessServiceClient(this.address, ChannelCredentials.createInsecure(), options);
    this.engineClient = new v1.EngineServiceClient(this.address, ChannelCredentials.createInsecure(), options);
  }

  /** The token that this server's clients must show, or null where none is needed. */
  get token(): string | null {
    const file = join(this.dataFolder, TOKEN_FILE);
    return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
  }

  get listenAddress(): string {
    return this.address;
  }

  /** The page's address: "http://127.0.0.1:PORT". */
  get webAddress(): string {
    return this.page;
  }

  get pid(): number {
    return this.child!.pid!;
  }

  /** The id of a part's process, or null while the part has no process. */
  pidOf(part: Part): number | null {
    if (part === 'orchestrator') return this.child?.exitCode === null && this.child.signalCode === null ? this.pid : null;
    return this.pidsOf(part)[0] ?? null;
  }

  /** The processes with this file that the server has started to read data. */
  readersOf(file: string): number[] {
    return childrenOf(this.pid)
      .filter(({ command }) => command.includes(file))
      .map(({ pid }) => pid);
  }

  /** The processes of a part. Engines are in the order of their start. */
  pidsOf(part: 'engine' | 'store'): number[] {
    const program = part === 'engine' ? 'apps/engine/src/main.js' : 'server-main.js';
    return childrenOf(this.pid)
      .filter(({ command }) => command.includes(program))
      .map(({ pid }) => pid);
  }

  /** The file that tells where the embedded event store answers. */
  get storeAddressFile(): string {
    return join(this.dataFolder, 'event-store.url');
  }

  /** Sends a signal to a part. Where the server has more than one engine, chance chooses it. */
  signal(part: Part, name: NodeJS.Signals): boolean {
    const pids = part === 'orchestrator' ? [this.pidOf(part)] : this.pidsOf(part);
    const pid = pids[Math.floor(Math.random() * pids.length)];
    return typeof pid === 'number' && signalled(pid, name);
  }

  /** Kills the orchestrator, and the other parts with it. */
  async kill(...others: Part[]): Promise<void> {
    if (this.child === null) return;
    this.child.kill('SIGSTOP'); // else it might start a new child while its children die
    this.orphans = childrenOf(this.pid).map(({ pid }) => pid);
    for (const part of others) for (const pid of part === 'orchestrator' ? [] : this.pidsOf(part)) signalled(pid, 'SIGKILL');
    const gone = this.child.exitCode === null && this.child.signalCode === null ? once(this.child, 'exit') : Promise.resolve();
    this.child.kill('SIGKILL');
    await gone;
    this.closeClients();
  }

  async stop(): Promise<number | null> {
    const { child } = this;
    if (child === null) return null;
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), HANGS_AFTER_MS);
    await gone;
    clearTimeout(force);
    this.closeClients();
    return child.exitCode;
  }

  /** Waits until the children of a killed orchestrator have ended by themselves. Returns whether they did. */
  async orphansGone(): Promise<boolean> {
    const until = Date.now() + HANGS_AFTER_MS;
    while (Date.now() < until) {
      this.orphans = this.orphans.filter(isAlive);
      if (this.orphans.length === 0) return true;
      await sleep(50);
    }
    return false;
  }

  async dispose(): Promise<void> {
    await this.orphansGone(); // those of an earlier kill
    await this.kill();
    for (const pid of this.orphans) signalled(pid, 'SIGKILL'); // a process that still writes would fill the folder while it is removed
    await this.orphansGone();
    rmSync(this.dataFolder, { recursive: true, force: true });
  }

  get log(): string {
    return readFileSync(join(this.dataFolder, 'server.log'), 'utf8');
  }

  logTail(): string {
    return this.log.split('\n').slice(-30).join('\n');
  }

  private closeClients(): void {
    this.client?.close();
    this.historyClient?.close();
    this.artifactClient?.close();
    this.studyClient?.close();
    this.pageClient?.close();
    this.accessClient?.close();
    this.engineClient?.close();
  }

  get runs(): v1.RunServiceClient {
    return this.client!;
  }

  get history(): v1.HistoryServiceClient {
    return this.historyClient!;
  }

  async engines(): Promise<v1.Engine[]> {
    return (await unary<v1.ListEnginesResponse>((done) => this.engineService.listEngines({}, done))).engines;
  }

  /** Waits until the fleet is as wanted, and returns it. */
  async fleetUntil(wanted: (fleet: v1.Fleet) => boolean): Promise<v1.Fleet> {
    let fleet: v1.Fleet | undefined;
    for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
      ({ fleet } = await unary<v1.ListEnginesResponse>((done) => this.engineService.listEngines({}, done)));
      if (wanted(fleet!)) return fleet!;
      await sleep(200); // the fleet itself looks at its jobs once a second
    }
    throw new Error(`the fleet did not get there: ${JSON.stringify(fleet)}\n${this.logTail()}`);
  }

  /** The status of a name of the health service; '' is the server. */
  async health(service = ''): Promise<string> {
    const client = new (makeClientConstructor(healthService, 'Health'))(this.address, ChannelCredentials.createInsecure());
    type Check = (request: { service: string }, done: (error: ServiceError | null, response: { status: string }) => void) => void;
    try {
      return (await unary<{ status: string }>((done) => (client['check'] as unknown as Check).call(client, { service }, done))).status;
    } finally {
      client.close();
    }
  }

  get studies(): v1.StudyServiceClient {
    return this.studyClient!;
  }

  get pages(): v1.PageServiceClient {
    return this.pageClient!;
  }

  get access(): v1.AccessServiceClient {
    return this.accessClient!;
  }

  get engineService(): v1.EngineServiceClient {
    return this.engineClient!;
  }

  get artifacts(): v1.ArtifactServiceClient {
    return this.artifactClient!;
  }

  launch(settings: Partial<v1.RunSettings>, more: LaunchParts = {}): Promise<v1.Run> {
    const request = v1.LaunchRunRequest.fromPartial({
      modelPath: TINY_MODEL,
      data: { trainPath: CORPUS, validationPath: CORPUS },
      settings: { ...TINY_RUN, ...settings },
      ...more,
    });
    return unary<v1.LaunchRunResponse>((done) => this.runs.launchRun(request, done)).then(({ run }) => run!);
  }

  study<Response>(
    ask: (client: v1.StudyServiceClient, done: (error: ServiceError | null, response: Response) => void) => unknown,
  ): Promise<Response> {
    return unary<Response>((done) => ask(this.studies, done));
  }

  run(runId: string): Promise<v1.Run> {
    return unary<v1.GetRunResponse>((done) => this.runs.getRun({ runId }, done)).then(({ run }) => run!);
  }

  async until(runId: string, wanted: (run: v1.Run) => boolean, everyMs = 50, withinMs = HANGS_AFTER_MS): Promise<v1.Run> {
    let last: v1.Run | undefined;
    const until = Date.now() + withinMs;
    while (Date.now() < until) {
      last = await this.run(runId);
      if (wanted(last)) return last;
      if (last.status === v1.RunStatus.RUN_STATUS_FAILED) break;
      await sleep(everyMs);
    }
    const { status, step, failure } = last!;
    const why = failure === undefined ? '' : `${failure.code} ${failure.message}`;
    throw new Error(`run ${runId} did not get there: ${v1.runStatusToJSON(status)} at step ${step} ${why}\n${this.logTail()}`);
  }

  /** Waits for the end of a run. It asks seldom, because each question costs the server as much as some of the run's steps. */
  completed(runId: string, withinMs?: number, everyMs = 250): Promise<v1.Run> {
    return this.until(runId, isOver, everyMs, withinMs);
  }

  /**
   * Disturbs a run on its way, and returns it once it has ended. On a fast machine the run may be over before the disturbance comes. The
   * same then happens to another run.
   */
  async disturbed({ launch, when, by }: Disturbance): Promise<v1.Run> {
    for (let tries = 0; tries < DISTURBANCES_MAX; tries += 1) {
      const { runId } = await launch();
      await this.until(runId, (run) => when(run) || isOver(run), CLOSELY_MS);
      const inTime = await by(runId).catch((error: unknown) => {
        if (codeOf(error) === 'RUN_FINISHED') return false;
        throw error;
      });
      const run = await this.completed(runId);
      if (typeof inTime === 'boolean' ? inTime : run.attempt > 1) return run;
    }
    throw new Error(`each of ${DISTURBANCES_MAX} runs was over before it could be disturbed\n${this.logTail()}`);
  }

  /** Asks the run to pause and waits until it does. Returns false where the run was over before. */
  async pause(runId: string): Promise<boolean> {
    await unary<v1.PauseRunResponse>((done) => this.runs.pauseRun({ runId }, done));
    return this.untilPaused(runId);
  }

  /** Waits until the run is paused. Returns false where it is over instead. */
  async untilPaused(runId: string): Promise<boolean> {
    return !isOver(await this.until(runId, (run) => run.status === v1.RunStatus.RUN_STATUS_PAUSED || isOver(run)));
  }

  resume(runId: string, more: Partial<v1.ResumeRunRequest> = {}): Promise<v1.ResumeRunResponse> {
    return unary((done) => this.runs.resumeRun(v1.ResumeRunRequest.fromPartial({ runId, ...more }), done));
  }

  /** Kills all processes and starts them again. */
  async killAll(): Promise<void> {
    await this.kill('engine', 'store');
    await this.start();
  }

  /** Returns the problems that a check of the run's record finds, without a replay. */
  async problemsOf(runId: string): Promise<string[]> {
    const verdicts = await collect(this.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId })));
    return verdicts.at(-1)!.summary!.problems;
  }

  async events(runId: string): Promise<v1.HistoryEvent[]> {
    const events: v1.HistoryEvent[] = [];
    for (let from: bigint | undefined = 0n; from !== undefined;) {
      const request = v1.ReadHistoryRequest.fromPartial({ runId, fromRevision: from, pageSize: 1000 });
      const page: v1.ReadHistoryResponse = await unary((done) => this.history.readHistory(request, done));
      events.push(...page.events);
      from = page.nextRevision;
    }
    return events;
  }
}

export async function enginesUntil(server: TestServer, wanted: (engines: v1.Engine[]) => boolean): Promise<v1.Engine[]> {
  let engines: v1.Engine[] = [];
  for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
    engines = await server.engines();
    if (wanted(engines)) return engines;
    await sleep(20);
  }
  throw new Error(
    `the engines are ${JSON.stringify(engines.map(({ name, status, problem }) => [name, status, problem]))}\n${server.logTail()}`,
  );
}

/**
 * Kills the driver of a run on its way, and waits until the standby has brought the run to its end. Where the run was over by then, the two
 * change places and the next run is tried.
 * @param before called right before the driver is killed
 */
export async function killedDriving(
  servers: TestServer[],
  {
    launch,
    when,
    before,
  }: { launch: (driver: TestServer) => Promise<v1.Run>; when: Moment; before: (driver: TestServer, runId: string) => Promise<void> },
): Promise<{ run: v1.Run; dead: TestServer; driver: TestServer }> {
  let [driver, standby] = servers as [TestServer, TestServer];
  for (let tries = 0; tries < DISTURBANCES_MAX; tries += 1) {
    const { runId } = await launch(driver);
    await driver.until(runId, (run) => when(run) || isOver(run), CLOSELY_MS);
    await before(driver, runId);
    await driver.kill();
    const run = await standby.completed(runId);
    if (run.attempt > 1) return { run, dead: driver, driver: standby };
    await driver.start();
    [driver, standby] = [standby, driver];
  }
  throw new Error(`each of ${DISTURBANCES_MAX} runs was over before its driver was killed`);
}

/** Settings of a run of about a second, in which every kind of boundary occurs. */
export const TINY_RUN: Partial<v1.RunSettings> = {
  preset: 'short',
  targetSparsity: 0.2,
  totalSteps: 120,
  batchSize: 2,
  sequenceLength: 32,
  segmentSteps: 10,
  loraRank: 8,
  teacherGapMarks: 3,
  evaluationWindow: 64,
};

/** Settings of a run that only ends when a test stops it. */
export const ENDLESS: Partial<v1.RunSettings> = { totalSteps: 1_000_000, warmupSteps: 500_000 };

/** Writes the small corpus, which all suites share. They run side by side, so the file is put in its place whole. */
function smallCorpus(source: string): string {
  const path = join(ROOT, 'dist/small-corpus.jsonl');
  const text = readFileSync(source, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.stringify({ text: (JSON.parse(line) as { text: string }).text.slice(0, 2_000) }))
    .join('\n');
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return path; // another suite's server may be reading it
  const own = `${path}.${process.pid}`;
  writeFileSync(own, text);
  renameSync(own, path);
  return path;
}

export async function unary<Response>(
  call: (done: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call((error, response) => {
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
  });
}

export async function collect<Message>(call: ClientReadableStream<Message>): Promise<Message[]> {
  const messages: Message[] = [];
  try {
    for await (const message of call as AsyncIterable<Message>) messages.push(message);
  } catch (error) {
    throw fromServiceError(error as ServiceError);
  }
  return messages;
}

export const isOver = ({ status }: v1.Run): boolean => status === v1.RunStatus.RUN_STATUS_COMPLETED;

export const codeOf = (error: unknown): string => (error instanceof EspalierError ? error.code : String(error));

function signalled(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

function childrenOf(parent: number): { pid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (Number(ppid) !== parent || state === 'Z') return [];
        return [{ pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') }];
      } catch {
        return []; // the process has gone in the meantime
      }
    });
}

/** Whether a thread of the process lives. The main thread of a killed process may be a zombie while another one still writes to a file. */
function isAlive(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
      return !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
    });
  } catch {
    return false;
  }
}
