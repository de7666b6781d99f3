// The real processes under test: an orchestrator with its engine and event store as children, killed and started at will.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ChannelCredentials, makeClientConstructor, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { TOKEN_FILE } from '#files';
import { bearerToken, EspalierError, fromServiceError, v1 } from '#protocol';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const MAIN = join(ROOT, 'dist/apps/orchestrator/src/main.js');
export const TINY_MODEL = join(ROOT, 'testdata/models/gqa-random-tiny');
export const FACTBOOK_MODEL = join(ROOT, 'examples/models/factbook-llama-3m');
export const TRAINING_DATA = join(ROOT, 'examples/data/factbook/train.jsonl');
/** The first documents of the bundled validation set: enough for a small run, quick to evaluate. */
export const CORPUS = smallCorpus(join(ROOT, 'examples/data/factbook/validation.jsonl'));
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

export type Part = 'engine' | 'store' | 'orchestrator';

type LaunchParts = Omit<Partial<v1.LaunchRunRequest>, 'data'> & { data?: Partial<v1.DataSource> };

export class TestServer {
  private child: ChildProcess | null = null;
  private client: v1.RunServiceClient | null = null;
  private historyClient: v1.HistoryServiceClient | null = null;
  private artifactClient: v1.ArtifactServiceClient | null = null;
  private studyClient: v1.StudyServiceClient | null = null;
  private address = '';
  /** Processes that are killed with an orchestrator and must be gone before the next one starts. */
  private orphans: number[] = [];

  /** Threads of the engine; another number gives other numerics. Taken at the next start. */
  threads = 1;

  /** The address of its web server; taken at the next start. */
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
    const child = spawn(
      process.execPath,
      [
        ...['--no-memory-reducer', MAIN, '--data-folder', this.dataFolder],
        ...['--listen', '127.0.0.1:0', '--web', this.web, '--threads', String(this.threads)],
      ],
      {
        // Runs are a hundred times shorter here than real ones: some of their segments are recorded together, some alone.
        stdio: ['ignore', 'pipe', log],
        env: { ...process.env, ESPALIER_RECORD_INTERVAL_MS: '20', ...this.env },
      },
    );
    closeSync(log);
    this.child = child;
    const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
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
  }

  /** The token that this server's clients must show; null: none. */
  get token(): string | null {
    const file = join(this.dataFolder, TOKEN_FILE);
    return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
  }

  get listenAddress(): string {
    return this.address;
  }

  /** "http://127.0.0.1:PORT" */
  get webAddress(): string {
    return this.page;
  }

  get pid(): number {
    return this.child!.pid!;
  }

  /** The process of a part, if there is one at the moment. */
  pidOf(part: Part): number | null {
    if (part === 'orchestrator') return this.child?.exitCode === null && this.child.signalCode === null ? this.pid : null;
    return this.pidsOf(part)[0] ?? null;
  }

  /** The processes of a part; those of several engines in the order of their start. */
  pidsOf(part: 'engine' | 'store'): number[] {
    const program = part === 'engine' ? 'apps/engine/src/main.js' : 'server-main.js';
    return childrenOf(this.pid)
      .filter(({ command }) => command.includes(program))
      .map(({ pid }) => pid);
  }

  /** Tells where the embedded event store answers. */
  get storeAddressFile(): string {
    return join(this.dataFolder, 'event-store.url');
  }

  /** Signals the part; one of several engines, whichever. */
  signal(part: Part, name: NodeJS.Signals): boolean {
    const pids = part === 'orchestrator' ? [this.pidOf(part)] : this.pidsOf(part);
    const pid = pids[Math.floor(Math.random() * pids.length)];
    return typeof pid === 'number' && signalled(pid, name);
  }

  /** Kills the orchestrator, with what dies with it. */
  async kill(...others: Part[]): Promise<void> {
    if (this.child === null) return;
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
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(force);
    this.closeClients();
    return child.exitCode;
  }

  /** Children of a killed orchestrator end by themselves: this says whether they did. */
  async orphansGone(withinMs = 10_000): Promise<boolean> {
    const until = Date.now() + withinMs;
    while (Date.now() < until) {
      if (this.orphans.every((pid) => !isAlive(pid))) return true;
      await sleep(50);
    }
    return false;
  }

  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.dataFolder, { recursive: true, force: true });
  }

  logTail(): string {
    return readFileSync(join(this.dataFolder, 'server.log'), 'utf8').split('\n').slice(-30).join('\n');
  }

  private closeClients(): void {
    this.client?.close();
    this.historyClient?.close();
    this.artifactClient?.close();
    this.studyClient?.close();
  }

  get runs(): v1.RunServiceClient {
    return this.client!;
  }

  get history(): v1.HistoryServiceClient {
    return this.historyClient!;
  }

  async engines(): Promise<v1.Engine[]> {
    const client = new v1.EngineServiceClient(this.address, ChannelCredentials.createInsecure(), bearerToken(this.token));
    try {
      return (await unary<v1.ListEnginesResponse>((done) => client.listEngines({}, done))).engines;
    } finally {
      client.close();
    }
  }

  /** Status of a name of the health service; '' is the server. */
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

  async until(runId: string, wanted: (run: v1.Run) => boolean, withinMs = 60_000, everyMs = 50): Promise<v1.Run> {
    let last: v1.Run | undefined;
    const until = Date.now() + withinMs;
    while (Date.now() < until) {
      last = await this.run(runId);
      if (wanted(last)) return last;
      await sleep(everyMs);
    }
    throw new Error(
      `run ${runId} did not get there: ${v1.runStatusToJSON(last!.status)} ` +
        `at step ${last!.step} ${last!.failure?.message ?? ''}\n${this.logTail()}`,
    );
  }

  /** A whole run takes as long as it takes: the limit is for one that never ends. */
  completed(runId: string, withinMs = 240_000, everyMs?: number): Promise<v1.Run> {
    return this.until(
      runId,
      (run) => {
        if (run.status === v1.RunStatus.RUN_STATUS_FAILED)
          throw new Error(`run ${runId} failed: ${run.failure?.code} ${run.failure?.message}`);
        return run.status === v1.RunStatus.RUN_STATUS_COMPLETED;
      },
      withinMs,
      everyMs,
    );
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

/** Small enough for a second or two; every kind of boundary occurs. */
export const TINY_RUN: Partial<v1.RunSettings> = {
  targetSparsity: 0.2,
  totalSteps: 120,
  batchSize: 2,
  sequenceLength: 32,
  segmentSteps: 10,
  teacherGapMarks: 3,
  evaluationWindow: 64,
};

/** The same file for all suites, put in its place whole: they run side by side. */
function smallCorpus(source: string): string {
  const path = join(ROOT, 'dist/small-corpus.jsonl');
  const text = readFileSync(source, 'utf8').split('\n').slice(0, 40).join('\n');
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
        return []; // gone meanwhile
      }
    });
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  } catch {
    return false;
  }
}
