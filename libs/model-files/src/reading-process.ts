// Files that a user names are read in a process of its own: they may be made so that reading them never ends, or takes all memory, and an
// array that is too long ends the whole process of whoever makes it. A thread would take the server with it.
import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { Worker } from 'node:worker_threads';

const HEAP_MB = 2_048;
const ALIVE_INTERVAL_MS = 1_000;
const ALIVE = 'alive';

/** @param program the file of the process, which takes its task by `readingProcess` */
export function startReading(program: string, task: object): ChildProcess {
  const child = fork(program, [String(process.pid)], {
    serialization: 'advanced',
    execArgv: [`--max-old-space-size=${HEAP_MB}`],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  child.on('error', () => undefined); // of a process that is given up; others are thrown by messagesFrom
  child.send(task);
  return child;
}

export interface Patience {
  /** How long the process may be silent. */
  silenceMs: number;
  signal?: AbortSignal | undefined;
  /** Tells which input is wrong then. */
  silent(): Error;
  /** And if the process died of it. */
  tooLarge(): Error;
}

/** All that the process sends, in order; it is ended with the loop. @throws the errors of `patience`, or the signal's reason */
export async function* messagesFrom<Message>(child: ChildProcess, patience: Patience): AsyncGenerator<Message> {
  const { signal, silenceMs } = patience;
  const hung = new AbortController();
  // Missing signs of life are counted, not time: a machine that is busy delays this process too.
  let owed = 0;
  const watching = setInterval(() => {
    owed += 1;
    if (owed * ALIVE_INTERVAL_MS > silenceMs) hung.abort(patience.silent());
  }, ALIVE_INTERVAL_MS);
  child.on('message', () => {
    owed = 0;
  });
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => undefined);
  const either = AbortSignal.any([hung.signal, ...(signal === undefined ? [] : [signal])]);
  try {
    either.throwIfAborted();
    // By then all that it sent has been heard; "exit" may come before.
    for await (const [message] of on(child, 'message', { signal: either, close: ['disconnect'] })) {
      if (message !== ALIVE) yield message as Message;
    }
    const [code, killedBy] = await exited;
    if (killedBy !== null || code === ABORTED) throw patience.tooLarge();
    throw new Error(`the reading process ended without an answer (exit code ${code})`);
  } catch (error) {
    either.throwIfAborted();
    throw error;
  } finally {
    clearInterval(watching);
    child.kill('SIGKILL');
  }
}
/** How a shell, or a container's init, tells of SIGABRT. */
const ABORTED = 134;

export interface ReadingProcess<Message> {
  send(message: Message): void;
  /** Hears what the other side sends after the task. */
  onMessage(listener: (message: unknown) => void): void;
}

/** In the process: does the task, says all the while that it is alive whenever the work lets it, and ends. */
export async function readingProcess<Message>(work: (task: unknown, process: ReadingProcess<Message>) => Promise<void>): Promise<void> {
  endWith(Number(process.argv[2]));
  const [task] = (await once(process, 'message')) as [unknown];
  const alive = setInterval(() => process.send!(ALIVE), ALIVE_INTERVAL_MS);
  await work(task, { send: (message) => process.send!(message), onMessage: (listener) => process.on('message', listener) });
  clearInterval(alive);
  process.send!(ALIVE, () => process.exit()); // behind everything else that is on its way
}

/** In a thread, since the work may keep the event loop for ever. @param parent which may have gone already */
function endWith(parent: number): void {
  const source = `setInterval(() => { if (process.ppid !== ${parent}) process.kill(process.pid, 'SIGKILL'); }, 1000);`;
  new Worker(source, { eval: true }).unref();
}
