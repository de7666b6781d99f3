// Starts and stops the server of a data folder. It is a process of its own, so a run goes on when the command has ended.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readSync, fstatSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  asOwnerOnly,
  foreignDataFolderText,
  foreignInDataFolder,
  makeFolder,
  programFile,
  RESERVE_FILE,
  ROOM_BYTES,
  roomInSync,
  SERVER_LOG,
} from '#files';
import { CliError, ExitCode } from '../cli-error.js';
import { dashboardLink } from './dashboard-link.js';
import { buildEngineOnce } from './engine-build.js';
import { announcement, isAlive, readServerFile, type ServerFile } from '../connection/server-address.js';

export interface StackOptions {
  dataFolder: string;
  /** Passed on to the server when given; it has defaults and ESPALIER_... variables of its own. */
  listen?: string | undefined;
  web?: string | undefined;
  eventStore?: string | undefined;
  artifacts?: string | undefined;
  s3Endpoint?: string | undefined;
  s3Region?: string | undefined;
  s3Cache?: string | undefined;
  acceptStore?: boolean | undefined;
  engines?: string | undefined;
  /** Addresses of engines that run already. */
  engine?: string[] | undefined;
  /** One for all of its engines, or one for each; several for one engine are joined by +. */
  device?: string[] | undefined;
  cards?: string | undefined;
  threads?: string | undefined;
  /** Folders in which paths of callers with tokens lie. */
  dataRoot?: string[] | undefined;
  tlsCert?: string | undefined;
  tlsKey?: string | undefined;
  tlsClientCa?: string | undefined;
  fleet?: string | undefined;
  webhooks?: string | undefined;
  oidc?: string | undefined;
  runsPerCaller?: string | undefined;
  engineHours?: string | undefined;
  viewersReadTexts?: boolean | undefined;
  allowInsecureRemote?: boolean | undefined;
  openLoopback?: boolean | undefined;
  logLevel?: string | undefined;
}

export interface RunningStack extends ServerFile {
  logFile: string;
  /** Whether the server ran already, so that it was not started by this command. */
  wasRunning: boolean;
}

/** A server that can't start ends by itself. A first start that makes the views of 10,000 runs took 197 s on a busy machine. */
const START_TIMEOUT_MS = 600_000;
/** A server gives itself 30 seconds. */
export const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const LOG_TAIL_BYTES = 4_000;

export function logFileOf(dataFolder: string): string {
  return join(dataFolder, SERVER_LOG);
}

function serverProgram(): string {
  return programFile(new URL('../../../orchestrator/src/main.js', import.meta.url));
}

/** The collector gives memory back in idle moments, and takes the time for that from the engine's steps. */
const NODE_OPTIONS = ['--no-memory-reducer'];

function serverArguments(options: StackOptions): string[] {
  const flags: [string, string | undefined][] = [
    ['--data-folder', options.dataFolder],
    ['--listen', options.listen],
    ['--web', options.web],
    ['--event-store', options.eventStore],
    ['--artifacts', options.artifacts],
    ['--s3-endpoint', options.s3Endpoint],
    ['--s3-region', options.s3Region],
    ['--s3-cache', options.s3Cache],
    ['--engines', options.engines],
    ...(options.engine ?? []).map((address): [string, string] => ['--engine', address]),
    ...(options.device ?? []).map((name): [string, string] => ['--device', name]),
    ['--cards', options.cards],
    ['--threads', options.threads],
    ['--tls-cert', options.tlsCert],
    ['--tls-key', options.tlsKey],
    ['--tls-client-ca', options.tlsClientCa],
    ['--fleet', options.fleet],
    ['--webhooks', options.webhooks],
    ['--oidc', options.oidc],
    ['--runs-per-caller', options.runsPerCaller],
    ['--engine-hours', options.engineHours],
    ...(options.dataRoot ?? []).map((folder): [string, string] => ['--data-root', folder]),
    ['--log-level', options.logLevel],
  ];
  const program = serverProgram();
  if (!existsSync(program))
    throw new CliError('NOT_BUILT', `${program} is missing; build first with: npm run build`, { exitCode: ExitCode.unavailable });
  return [
    ...NODE_OPTIONS,
    program,
    ...flags.flatMap(([flag, value]) => (value === undefined ? [] : [flag, value])),
    ...(options.allowInsecureRemote === true ? ['--allow-insecure-remote'] : []),
    ...(options.viewersReadTexts === true ? ['--viewers-read-texts'] : []),
    ...(options.openLoopback === true ? ['--open-loopback'] : []),
    ...(options.acceptStore === true ? ['--accept-store'] : []),
  ];
}

/** The server that a data folder has now, if its process is there. @throws CliError DATA_FOLDER_UNREADABLE */
export function runningServer(dataFolder: string): ServerFile | null {
  const file = readServerFile(dataFolder);
  return file !== null && isServer(file.pid) ? file : null;
}

function isServer(pid: number): boolean {
  return isAlive(pid) && isOurServer(pid);
}

/** After a crash another program may have got the process id. Without /proc we take the file's word. */
function isOurServer(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('orchestrator');
  } catch {
    return true;
  }
}

/** Starts a server in the background unless one runs; returns once it accepts calls. A start that is given up leaves none. */
export async function startStack(options: StackOptions, signal: AbortSignal): Promise<RunningStack> {
  const logFile = logFileOf(options.dataFolder);
  const running = runningServer(options.dataFolder);
  if (running !== null) return { ...running, logFile, wasRunning: true };
  makeDataFolder(options.dataFolder);
  await buildEngineOnce(signal); // also a server that starts none for runs asks one what a model is
  const log = asOwnerOnly(() => openSync(logFile, 'a'));
  const logStart = fstatSync(log).size;
  const child = spawn(process.execPath, serverArguments(options), { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.unref();
  try {
    const started = await waitForServer(child, options.dataFolder, () => tail(logFile, logStart), signal);
    return { ...started, logFile, wasRunning: false };
  } catch (error) {
    child.kill('SIGTERM');
    throw error;
  }
}

function makeDataFolder(folder: string): void {
  let foreign: string | undefined;
  try {
    asOwnerOnly(() => makeFolder(folder));
    foreign = foreignInDataFolder(folder);
  } catch (error) {
    throw new CliError('DATA_FOLDER_UNUSABLE', `can't make the data folder ${folder}: ${(error as Error).message}`, {
      field: '--data-folder',
      exitCode: ExitCode.usage,
    });
  }
  if (foreign !== undefined) {
    throw new CliError('DATA_FOLDER_FOREIGN', foreignDataFolderText(folder, foreign), {
      field: '--data-folder',
      exitCode: ExitCode.usage,
    });
  }
  if (existsSync(join(folder, RESERVE_FILE))) return; // the server starts with a part of it
  if (roomInSync(folder) >= ROOM_BYTES) return;
  throw new CliError('STORAGE_FULL', `no room is left for the data folder ${folder}`, {
    exitCode: ExitCode.notAllowed,
    hint: 'free some, then start the server again: its runs go on by themselves',
  });
}

async function waitForServer(child: ChildProcess, dataFolder: string, readLog: () => string, signal: AbortSignal): Promise<ServerFile> {
  let ended = null as string | null;
  child.once('exit', (code, signal) => {
    ended = signal ?? `exit code ${code}`;
  });
  child.once('error', (error) => {
    ended = error.message;
  });
  const until = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < until) {
    // The server writes the file once it accepts calls.
    const file = readServerFile(dataFolder);
    if (file !== null && file.pid === child.pid) return file;
    if (ended !== null) throw startFailure(`the server ended at once (${ended})`, readLog(), child.exitCode ?? ExitCode.failed);
    await sleep(POLL_MS, undefined, { signal });
  }
  throw startFailure(`the server was not ready within ${START_TIMEOUT_MS / 1000} s`, readLog(), ExitCode.failed);
}

/** @param exitCode that of the server, which tells a mistake in its options from other failures */
function startFailure(what: string, log: string, exitCode: number): CliError {
  // The server's own last message, if it wrote one.
  const [, words, code] = /^espalier: (.*) \(([A-Z_]+)\)$/.exec(log.split('\n').at(-1) ?? '') ?? [];
  if (words !== undefined && code !== 'INTERNAL') return new CliError('SERVER_START_FAILED', `${words} (${code})`, { exitCode });
  return new CliError('SERVER_START_FAILED', what, {
    exitCode,
    hint: log === '' ? 'it wrote nothing to its log' : `its log says:\n${log}`,
  });
}

function tail(path: string, from: number): string {
  const file = openSync(path, 'r');
  try {
    const size = fstatSync(file).size;
    const start = Math.max(from, size - LOG_TAIL_BYTES);
    const buffer = Buffer.alloc(Math.max(size - start, 0));
    readSync(file, buffer, 0, buffer.length, start);
    return buffer.toString('utf8').trim();
  } finally {
    closeSync(file);
  }
}

/** Runs the server in the foreground until it ends, or until a signal has stopped it. Returns its exit code. */
export async function runInForeground(options: StackOptions, signal: AbortSignal): Promise<number> {
  const running = runningServer(options.dataFolder);
  if (running !== null) {
    throw new CliError(
      'SERVER_ALREADY_RUNNING',
      `a server for ${options.dataFolder} already runs at ${running.listen} (process ${running.pid})`,
      { exitCode: ExitCode.notAllowed, hint: 'stop it with: espalier down' },
    );
  }
  makeDataFolder(options.dataFolder);
  await buildEngineOnce(signal);
  const child = spawn(process.execPath, serverArguments(options), { stdio: 'inherit' });
  // The terminal sends Ctrl-C to this process and to the server, but a program may send it to one only. A server that is told twice stops
  // once.
  signal.addEventListener('abort', () => child.kill('SIGTERM'));
  void printDashboardLink(child, options.dataFolder);
  return new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, by) => resolve(code ?? (by === 'SIGINT' || by === 'SIGTERM' ? 0 : ExitCode.failed)));
  });
}

/** Prints the link to the dashboard once the server answers. */
async function printDashboardLink(child: ChildProcess, dataFolder: string): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    const file = readServerFile(dataFolder);
    if (file !== null && file.pid === child.pid) {
      const link = dashboardLink(dataFolder, file);
      if (link !== null) process.stderr.write(`dashboard: ${link}\n`);
      return;
    }
    await sleep(POLL_MS);
  }
}

export interface StoppedServer {
  pid: number;
  /** False: the server was killed, or ended by force because its stop took too long. */
  inOrder: boolean;
}

/** Asks the server to stop in order, also one that has not started yet, and waits for it. Returns null when none runs. */
export async function stopStack(dataFolder: string, signal?: AbortSignal, timeoutMs = STOP_TIMEOUT_MS): Promise<StoppedServer | null> {
  const { pid } = announcement(dataFolder) ?? {};
  if (pid === undefined || !isServer(pid)) return null;
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ESRCH') return stopped(dataFolder, pid); // it has just ended
    throw new CliError('SERVER_NOT_PERMITTED', `the server (process ${pid}) is another user's: this user may not stop it`, {
      exitCode: ExitCode.failed,
      cause: error,
    });
  }
  const until = Date.now() + timeoutMs;
  while (isAlive(pid)) {
    if (Date.now() > until) {
      throw new CliError('SERVER_STOP_TIMED_OUT', `process ${pid} is still there after ${timeoutMs / 1000} s`, {
        exitCode: ExitCode.failed,
        hint: `nothing is lost by ending it hard: kill -9 ${pid}`,
      });
    }
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
  return stopped(dataFolder, pid);
}

/** A server that stops in order removes its announcement. */
function stopped(dataFolder: string, pid: number): StoppedServer {
  const left = announcement(dataFolder);
  return { pid, inOrder: left?.pid !== pid && left?.endedByForce !== pid };
}
