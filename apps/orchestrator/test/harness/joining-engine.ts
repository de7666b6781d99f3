// Engines that dial in to a server under test, and the connection between the two, which can delay, hold back, lose and cut.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server as Listener, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { programFile } from '#files';
import { v1 } from '#protocol';
import { TestServer, unary } from './server.js';

const ENGINE = programFile(new URL('../../../engine/src/main.js', import.meta.url));
const HANGS_AFTER_MS = 240_000;

interface Start {
  /** The command line before the engine's own. */
  prefix?: string[];
  /** The engine's working directory. */
  cwd?: string;
  /** Variables of the environment beside those of the test. */
  env?: Record<string, string>;
}

/** An engine's process and its log. */
export class JoiningEngine {
  private static readonly all: JoiningEngine[] = [];
  log = '';
  private readonly child: ChildProcess;

  constructor(args: string[], { prefix = [], cwd, env = {} }: Start = {}) {
    const [program, ...more] = [...prefix, process.execPath, ENGINE, '--threads', '1', ...args] as [string, ...string[]];
    this.child = spawn(program, more, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    this.child.stderr!.on('data', (text: Buffer) => (this.log += text.toString()));
    JoiningEngine.all.push(this);
  }

  static async endAll(): Promise<void> {
    for (const engine of JoiningEngine.all) await engine.end('SIGKILL');
  }

  get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Waits until the log contains the text. @param from the place in the log to begin at */
  async says(text: string, from = 0): Promise<void> {
    for (const until = Date.now() + HANGS_AFTER_MS; !this.log.includes(text, from);) {
      if (Date.now() > until) throw new Error(`the engine did not say "${text}":\n${this.log}`);
      await sleep(20);
    }
  }

  async exitCode(): Promise<number | null> {
    if (!this.isOver) await once(this.child, 'exit');
    return this.child.exitCode;
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (!this.isOver) this.child.kill(signal);
    return this.exitCode();
  }
}

export async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, 'close');
  return port;
}

/** Starts a server without engines of its own. It keeps its address after a restart. */
export async function serverWithoutEngines(host = '127.0.0.1', options: string[] = [], leaseSeconds = 3, env = {}): Promise<TestServer> {
  const server = TestServer.inNewFolder({ ...env, ESPALIER_ENGINES: '0', ESPALIER_LEASE_SECONDS: String(leaseSeconds) });
  server.options = ['--listen', `${host}:${await freePort()}`, ...options];
  await server.start();
  return server;
}

/** Writes a new token into the file. */
export async function tokenIn(path: string, access: v1.AccessServiceClient, role: v1.Role, name: string): Promise<string> {
  const { secret } = await unary<v1.CreateTokenResponse>((done) => access.createToken({ name, role, days: 1 }, done));
  writeFileSync(path, secret, { mode: 0o600 });
  return path;
}

/** Returns a function that writes a new token into a file of its own in the folder, and returns the file. */
export function tokenFilesIn(folder: string): (access: v1.AccessServiceClient, role: v1.Role, name: string) => Promise<string> {
  let tokens = 0;
  return (access, role, name) => tokenIn(join(folder, `token-${(tokens += 1)}`), access, role, name);
}

export async function listedUntil(server: TestServer, wanted: (engines: v1.Engine[]) => boolean): Promise<v1.Engine[]> {
  let listed: v1.Engine[] = [];
  for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
    listed = await server.engines();
    if (wanted(listed)) return listed;
    await sleep(20);
  }
  throw new Error(`the engines are ${JSON.stringify(listed.map(({ name, status, problem }) => [name, status, problem]))}`);
}

export const isIdle =
  (name: string) =>
  (all: v1.Engine[]): boolean =>
    all.some((one) => one.name === name && one.status === v1.EngineStatus.ENGINE_STATUS_IDLE);

/** A connection to a server on which each byte takes its time and all bytes can be lost. */
export class Way {
  private static readonly all: Way[] = [];
  /** Whether all bytes are lost without either end knowing. */
  isSilent = false;
  /** Whether new connections are refused. */
  isClosed = false;
  /** The bandwidth in each direction. */
  bytesPerSecond = Infinity;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly listener: Listener,
    private readonly delayMs: number,
  ) {
    Way.all.push(this);
  }

  /** Closes all ways. A test that failed leaves its way open, and an open way keeps the process from ending. */
  static closeAll(): void {
    for (const way of Way.all) way.close();
  }

  static async to(address: string, delayMs = 0): Promise<Way> {
    const [, host, port] = /^(.+):(\d+)$/.exec(address)!;
    const listener = createServer((near) => {
      if (way.isClosed) return void near.destroy();
      const far = connect({ host: host!, port: Number(port) });
      way.forward(near, far);
      way.forward(far, near);
    });
    const way = new Way(listener, delayMs);
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return way;
  }

  get address(): string {
    return `127.0.0.1:${(this.listener.address() as AddressInfo).port}`;
  }

  /** Ends all connections, of which both ends learn, and refuses new ones. */
  cut(): void {
    this.isClosed = true;
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
  }

  mend(): void {
    this.isClosed = false;
  }

  close(): void {
    this.listener.close();
    this.cut();
  }

  private forward(from: Socket, to: Socket): void {
    this.sockets.add(from);
    let isLost = false; // a stream with a gap would be another fault
    const later = (act: () => void): void => {
      isLost ||= this.isSilent;
      if (!isLost) setTimeout(act, this.delayMs);
    };
    from.on('data', (bytes: Buffer) => {
      later(() => to.write(bytes));
      if (this.bytesPerSecond === Infinity) return;
      from.pause();
      setTimeout(() => from.resume(), (1_000 * bytes.byteLength) / this.bytesPerSecond);
    });
    from.on('error', () => undefined).on('close', () => later(() => to.destroy()));
  }
}
