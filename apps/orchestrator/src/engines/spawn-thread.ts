// Starts processes from a thread that keeps the priority with which this process began. The engine's threads use every core, and each waits
// for the slowest, so work of the orchestrator in between costs a step twice. Therefore the orchestrator and its child, the event store,
// lower their priority. The engine must not inherit that, since without privileges a priority can be lowered but never raised again.
import { getPriority, setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';

/** The priority is low enough to let a step go on, but not so low that other work on the machine could starve the orchestrator. */
const GIVE_WAY_NICENESS = 10;

export interface SpawnRequest {
  id: number;
  file: string;
  args: string[];
}
export interface SpawnedMessage {
  id: number;
  pid?: number;
  output?: string;
  gone?: string;
}

/** A child process. Its open input ends when this process does, by which the child knows to end too. Only its standard error is read. */
export interface SpawnedProcess {
  readonly pid: number;
  /** Resolves with the reason when the process is gone. */
  readonly gone: Promise<string>;
  /** Does nothing once the process is gone. */
  kill(signal: NodeJS.Signals): void;
}

type Listener = (message: SpawnedMessage) => void;

let worker: Worker | null = null;
/**
 * Whether this process has lowered its priority. The thread must then outlive its children, because a new thread would start with the lower
 * priority.
 */
let lowered = false;
let requests = 0;
const listeners = new Map<number, Listener>();

/**
 * Lowers this process's priority, unless it is as low already: without privileges it can't be raised. Call it before the process does
 * anything that should have the lower priority.
 */
export function giveWayToEngines(): void {
  if (getPriority() >= GIVE_WAY_NICENESS) return;
  thread();
  setPriority(GIVE_WAY_NICENESS);
  lowered = true;
}

/** Starts a process, or rejects when it could not be started. */
export function spawnProcess(file: string, args: string[], onOutput: (text: string) => void): Promise<SpawnedProcess> {
  const id = (requests += 1);
  return new Promise((resolve, reject) => {
    let ended = false;
    let end: (reason: string) => void;
    const gone = new Promise<string>((done) => {
      end = done;
    });
    listeners.set(id, (message) => {
      const { pid } = message;
      if (pid !== undefined)
        resolve({
          pid,
          gone,
          kill: (signal) => {
            if (!ended) killQuietly(pid, signal);
          },
        });
      if (message.output !== undefined) onOutput(message.output);
      if (message.gone === undefined) return;
      ended = true;
      listeners.delete(id);
      if (listeners.size === 0 && !lowered) endThread();
      end(message.gone);
      reject(new Error(message.gone)); // has no effect once the process was started
    });
    thread().postMessage({ id, file, args } satisfies SpawnRequest);
  });
}

function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // the process is gone already
  }
}

function endThread(): void {
  void worker?.terminate();
  worker = null;
}

function thread(): Worker {
  if (worker !== null) return worker;
  worker = new Worker(programFile(new URL('./spawn-worker.js', import.meta.url)));
  worker.unref();
  worker.on('message', (message: SpawnedMessage) => listeners.get(message.id)?.(message));
  worker.on('error', (error) => {
    worker = null;
    for (const [id, listener] of [...listeners]) listener({ id, gone: `its thread failed: ${error.message}` });
  });
  return worker;
}
