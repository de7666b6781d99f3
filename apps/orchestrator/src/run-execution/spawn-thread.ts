// Starts processes from a thread that keeps the priority this process began with. The engine's threads use every core, and
// each waits for the slowest: whatever the orchestrator does in between would cost the step twice. So the orchestrator (and
// the event store, its child) gives way to the engine, and the engine must not inherit that: without privileges a priority
// can be lowered, never raised again.
import { setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';

/** Lower by enough to let a step go on, not by so much that other work on the machine could starve the orchestrator. */
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
  /** Rejects when it could not be started. */
  readonly pid: Promise<number>;
  /** Resolves with the reason when it is gone. */
  readonly gone: Promise<string>;
  /** Does nothing once it is gone. */
  kill(signal: NodeJS.Signals): void;
}

type Listener = (message: SpawnedMessage) => void;

let worker: Worker | null = null;
/** The thread must outlive its children where a new one would start with a lower priority. */
let lowered = false;
let requests = 0;
const listeners = new Map<number, Listener>();

/** Call before this process does anything else that should give way. */
export function giveWayToEngines(): void {
  thread();
  setPriority(GIVE_WAY_NICENESS);
  lowered = true;
}

export function spawnProcess(file: string, args: string[], onOutput: (text: string) => void): SpawnedProcess {
  const id = requests += 1;
  let ended = false;
  let known: number | null = null;
  let started: (pid: number) => void;
  let failed: (error: Error) => void;
  const pid = new Promise<number>((resolve, reject) => { [started, failed] = [resolve, reject]; });
  pid.catch(() => undefined); // `gone` says it too
  const gone = new Promise<string>((resolve) => {
    listeners.set(id, (message) => {
      if (message.pid !== undefined) started(known = message.pid);
      if (message.output !== undefined) onOutput(message.output);
      if (message.gone === undefined) return;
      ended = true;
      listeners.delete(id);
      if (listeners.size === 0 && !lowered) endThread();
      failed(new Error(message.gone));
      resolve(message.gone);
    });
  });
  thread().postMessage({ id, file, args } satisfies SpawnRequest);
  const kill = (signal: NodeJS.Signals): void => {
    const send = (number: number): void => {
      try {
        if (!ended) process.kill(number, signal);
      } catch {
        // gone meanwhile
      }
    };
    if (known !== null) send(known);
    else void pid.then(send, () => undefined);
  };
  return { pid, gone, kill };
}

function endThread(): void {
  void worker?.terminate();
  worker = null;
}

function thread(): Worker {
  if (worker !== null) return worker;
  worker = new Worker(new URL('./spawn-worker.js', import.meta.url));
  worker.unref();
  worker.on('message', (message: SpawnedMessage) => listeners.get(message.id)?.(message));
  worker.on('error', (error) => {
    worker = null;
    for (const [id, listener] of [...listeners]) listener({ id, gone: `its thread failed: ${error.message}` });
  });
  return worker;
}
