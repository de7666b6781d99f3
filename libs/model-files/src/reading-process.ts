// Reads files that a user names in a process of its own. Such a file may be made so that reading it never ends or takes all memory, and an
// array that is too long ends the process that makes it. A thread would end the server as well.
import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { constants } from 'node:os';
import { Worker } from 'node:worker_threads';
import { offlineEnvironment } from '#files';
import { ModelFilesError } from './model-files.errors.js';

const HEAP_MB = 2_048;
const ALIVE_INTERVAL_MS = 1_000;
const ALIVE = 'alive';

/**
 * @param program the file of the process, which gets its task from `readingProcess`
 * @param heapMb the most that the process may have on its heap
 * @throws ModelFilesError READER_LOST
 */
export function startReading(program: string, task: object, heapMb = HEAP_MB): ChildProcess {
  const child = started(program, heapMb);
  child.on('error', () => undefined); // errors of a process that was given up; `messagesFrom` throws the others
  send(child, task);
  return child;
}

/**
 * Sends a message to the process. If it has ended already, the message is lost, and `messagesFrom` reports the end after the messages that
 * the process sent.
 */
export function send(child: ChildProcess, message: string | object): void {
  child.send(message, () => undefined); // without the callback, a lost message would throw and stop the reading
}

function started(program: string, heapMb: number): ChildProcess {
  try {
    return fork(program, [String(process.pid)], {
      serialization: 'advanced',
      env: offlineEnvironment(),
      execArgv: [`--max-old-space-size=${heapMb}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
  } catch (error) {
    throw notStarted((error as Error).message); // memory is missing; other causes come as an event
  }
}

export interface ReadingLimits {
  /** The longest time in ms without a sign of life. */
  silenceMs: number;
  signal?: AbortSignal | undefined;
  /** Makes the error for a process that was silent for too long. It says which input is wrong. */
  silent(): Error;
  /** Makes the error for a process that died of its input. */
  tooLarge(): Error;
}

/**
 * Yields all messages of the process in order. The process is ended when the loop ends.
 * @throws the errors of `patience`, READER_LOST, or the signal's reason
 */
export async function* messagesFrom<Message>(child: ChildProcess, limits: ReadingLimits): AsyncGenerator<Message> {
  const { signal, silenceMs } = limits;
  const hung = new AbortController();
  // Missing signs of life are counted instead of time, because a busy machine delays this process too.
  let owed = 0;
  const watching = setInterval(() => {
    owed += 1;
    if (owed * ALIVE_INTERVAL_MS > silenceMs) hung.abort(limits.silent());
  }, ALIVE_INTERVAL_MS);
  child.on('message', () => {
    owed = 0;
  });
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => undefined);
  const either = AbortSignal.any([hung.signal, ...(signal === undefined ? [] : [signal])]);
  try {
    either.throwIfAborted();
    // When "disconnect" comes, all messages have been received. "exit" may come earlier.
    for await (const [message] of on(child, 'message', { signal: either, close: ['disconnect'] })) {
      if (message !== ALIVE) yield message as Message;
    }
    throw endOf(...(await exited), limits);
  } catch (error) {
    either.throwIfAborted();
    const { syscall = '', message } = error as NodeJS.ErrnoException;
    throw syscall.startsWith('spawn') ? notStarted(message) : error;
  } finally {
    clearInterval(watching);
    child.kill('SIGKILL');
  }
}

/** Makes an error for which the input is not to blame. */
const lost = (what: string): ModelFilesError => new ModelFilesError('READER_LOST', `the process that reads data ${what}`);
const notStarted = (why: string): ModelFilesError => lost(`could not be started: ${why}`);

/** The signals that a process sends itself when V8 or a library can't go on, for example because an array is too long. */
const CRASH_SIGNALS = new Set(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV', 'SIGBUS', 'SIGFPE']);
/** A shell, or a container's init, reports a signal as this number plus the signal's number. */
const KILLED_BY = 128;

function endOf(code: number | null, signal: NodeJS.Signals | null, limits: ReadingLimits): Error {
  const numbers = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  const killedBy = signal ?? numbers.find(([, number]) => number + KILLED_BY === code)?.[0];
  if (killedBy === undefined) return new Error(`the reading process ended without an answer (exit code ${code})`);
  if (CRASH_SIGNALS.has(killedBy)) return limits.tooLarge();
  return lost(`was killed from outside (${killedBy}), by a user or by the system for want of memory`);
}

export interface ReadingProcess<Message> {
  send(message: Message): void;
  /** Sets the listener for messages that the other side sends after the task. */
  onMessage(listener: (message: unknown) => void): void;
}

/** Runs in the process: does the task, sends signs of life whenever the work lets it, and ends. */
export async function readingProcess<Message>(work: (task: unknown, process: ReadingProcess<Message>) => Promise<void>): Promise<void> {
  endWith(Number(process.argv[2]));
  const [task] = (await once(process, 'message')) as [unknown];
  const alive = setInterval(() => process.send!(ALIVE), ALIVE_INTERVAL_MS);
  await work(task, { send: (message) => process.send!(message), onMessage: (listener) => process.on('message', listener) });
  clearInterval(alive);
  process.send!(ALIVE, () => process.exit()); // after all messages that are still being sent
}

/**
 * Ends this process when its parent is gone. It watches from a thread, because the work may block the event loop. @param parent the process
 * id of the parent, which may be gone already
 */
function endWith(parent: number): void {
  const source = `setInterval(() => { if (process.ppid !== ${parent}) process.kill(process.pid, 'SIGKILL'); }, 1000);`;
  new Worker(source, { eval: true }).unref();
}
