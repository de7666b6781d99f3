// Starts processes from a thread that keeps the priority this process began with. The engine's threads use every core, and
// each waits for the slowest: work of the orchestrator in between would cost the step twice. So the orchestrator (and
// the event store, its child) gives way to the engine, and the engine must not inherit that: without privileges a priority
// can be lowered, never raised again.
import { setPriority } from 'node:os';
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

/** A process with an open input, which ends when we do; its output is its stderr. */
export interface SpawnedProcess {
  readonly pid: number;
  /** Resolves with the reason when it is gone. */
  readonly gone: Promise<string>;
  /** Does nothing once it is gone. */
  kill(signal: NodeJS.Signals): void;
}

type Listener = (message: SpawnedMessage) => void;

let worker: Worker | null = null;
/** The thread must outlive its children, because a new thread would start with a lower priority. */
let lowered = false;
let requests = 0;
const listeners = new Map<number, Listener>();

/** Call before this process does anything else that should give way. */
export function giveWayToEngines(): void {
  thread();
  setPriority(GIVE_WAY_NICENESS);
  lowered = true;
}

/** Rejects when it could not be started. */
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
      reject(new Error(message.gone)); // says nothing once it was started
    });
    thread().postMessage({ id, file, args } satisfies SpawnRequest);
  });
}

function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // gone meanwhile
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
