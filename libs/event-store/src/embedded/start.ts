import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { offlineEnvironment, processorUseOf, programFile } from '#files';
import { EmbeddedStoreError } from '../event-store.errors.js';

export interface EmbeddedEventStoreOptions {
  /** The folder of the events, which is made if it is missing. Only one server can use a folder. */
  folder: string;
  host?: string;
  /** The port; 0, the default, picks a free one. */
  port?: number;
  tls?: { certFile: string; keyFile: string; caFile?: string };
  /** The passwords of the server's users. They are needed with TLS, and only with TLS. */
  users?: { admin: string; ops?: string };
  /** Appends that would make the database larger are refused as on a full disk; undefined: no limit. */
  maxDatabaseBytes?: number;
  /** The file to which the server's stderr is appended; undefined: this process's stderr. */
  logFile?: string;
}

export interface EmbeddedEventStore {
  connectionString: string;
  pid: number;
  /** Commits the accepted appends and closes open calls. Resolves when the process has ended. */
  stop(): Promise<void>;
}

/**
 * A store that fails to start tells so at once. A sound one has taken over half a minute on a busy machine with a slow disk, and takes much
 * longer with a hundredth of a processor. So a start is given up only when the process has done nothing for this time.
 */
const START_IDLE_MS = 120_000;
const START_LOOK_MS = 1_000;
/** The least use of the processors between two looks that counts as work. */
const AT_WORK_MS = 5;
const STOP_TIMEOUT_MS = 10_000;
/**
 * The server is often idle for most of a second. V8 would then collect garbage to return memory, which takes time from an engine's steps.
 */
const NODE_OPTIONS = ['--no-memory-reducer'];
const PROGRAM = new URL('../server-main.js', import.meta.url);

/**
 * Starts the embedded server as a child process. The server's stdin closes when this process dies, even by kill -9, and the server then
 * stops by itself.
 * @throws EmbeddedStoreError with the server's own code: STORE_LOCKED, STORE_CORRUPT, STORE_READ_ONLY, ...
 */
export async function startEmbeddedEventStore(options: EmbeddedEventStoreOptions): Promise<EmbeddedEventStore> {
  const host = options.host ?? '127.0.0.1';
  const log = options.logFile === undefined ? undefined : openSync(options.logFile, 'a');
  const child = spawn(process.execPath, [...NODE_OPTIONS, programFile(PROGRAM), ...argumentsOf(options, host)], {
    stdio: ['pipe', 'pipe', log ?? 'inherit'],
    env: { GRPC_VERBOSITY: 'NONE', ...offlineEnvironment(), ...passwordsOf(options) },
  });
  if (log !== undefined) closeSync(log);
  const { port } = await ready(child);
  // Neither the child nor its pipes keep this process running.
  child.unref();
  for (const stream of [child.stdin, child.stdout]) (stream as unknown as { unref?(): void }).unref?.();
  return { connectionString: connectionString(options, host, port), pid: child.pid!, stop: () => stop(child) };
}

function argumentsOf(options: EmbeddedEventStoreOptions, host: string): string[] {
  const result = ['--folder', options.folder, '--host', host, '--port', String(options.port ?? 0), '--exit-with-stdin'];
  if (options.tls) result.push('--tls-cert', options.tls.certFile, '--tls-key', options.tls.keyFile);
  if (options.maxDatabaseBytes !== undefined) result.push('--max-database-bytes', String(options.maxDatabaseBytes));
  return result;
}

/** Passes the passwords in the environment, because every user of the machine can read a process's arguments. */
function passwordsOf({ users }: EmbeddedEventStoreOptions): Record<string, string> {
  return {
    ...(users ? { ESPALIER_EVENT_STORE_ADMIN_PASSWORD: users.admin } : {}),
    ...(users?.ops ? { ESPALIER_EVENT_STORE_OPS_PASSWORD: users.ops } : {}),
  };
}

function connectionString(options: EmbeddedEventStoreOptions, host: string, port: number): string {
  const query = options.tls ? `tls=true${options.tls.caFile ? `&tlsCAFile=${encodeURIComponent(options.tls.caFile)}` : ''}` : 'tls=false';
  const login = options.tls ? `admin:${encodeURIComponent(options.users?.admin ?? '')}@` : '';
  // Node warns when a certificate is requested for an IP address, so the address is named "localhost".
  const name = options.tls && host === '127.0.0.1' ? 'localhost' : host;
  return `kurrentdb://${login}${name}:${port}?${query}&discoveryInterval=10`;
}

interface Announcement {
  ready: boolean;
  port: number;
  code: string;
  message: string;
}

function ready(child: ChildProcess): Promise<Announcement> {
  return new Promise((resolve, reject) => {
    const fail = (code: string, message: string) => {
      clearInterval(timer);
      child.kill('SIGKILL');
      reject(new EmbeddedStoreError(code, message));
    };
    const timer = setInterval(
      whenIdle(child.pid, () => fail('STORE_FAILED', `the event store did nothing for ${START_IDLE_MS / 1000} s while it started`)),
      START_LOOK_MS,
    );
    child.once('error', (error) => fail('STORE_FAILED', `the event store could not be started: ${error.message}`));
    child.once('exit', (code, signal) => fail('STORE_FAILED', `the event store ended while starting (${signal ?? `exit code ${code}`})`));
    createInterface({ input: child.stdout! }).once('line', (line) => {
      const announcement = JSON.parse(line) as Announcement;
      if (!announcement.ready) return fail(announcement.code, announcement.message);
      clearInterval(timer);
      child.removeAllListeners('exit');
      child.removeAllListeners('error');
      resolve(announcement);
    });
  });
}

/** Returns a function to call at each look. It calls `end` once the process has done nothing for long. */
function whenIdle(pid: number | undefined, end: () => void): () => void {
  let [workedMs, idleSinceMs] = [0, performance.now()];
  return () => {
    const use = pid === undefined ? null : processorUseOf(pid);
    const now = performance.now();
    const worked = use === null ? 0 : use.ranMs + use.waitedMs;
    if (worked - workedMs >= AT_WORK_MS) [workedMs, idleSinceMs] = [worked, now];
    else if (now - idleSinceMs > START_IDLE_MS) end();
  };
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    child.ref();
    child.once('exit', () => {
      clearTimeout(force);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
