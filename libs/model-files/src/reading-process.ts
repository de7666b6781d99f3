// Files that a user names are read in a process of its own: they may be made so that reading them never ends, or takes all memory, and an
// array that is too long ends the whole process that makes it. A thread would take the server with it.
import { fork, type ChildProcess } from 'node:child_process';
import { on, once } from 'node:events';
import { constants } from 'node:os';
import { Worker } from 'node:worker_threads';
import { ModelFilesError } from './model-files.errors.js';

const HEAP_MB = 2_048;
const ALIVE_INTERVAL_MS = 1_000;
const ALIVE = 'alive';

/** @param program the file of the process, which takes its task by `readingProcess` @throws ModelFilesError READER_LOST */
export function startReading(program: string, task: object): ChildProcess {
  const child = started(program);
  child.on('error', () => undefined); // of a process that is given up; others are thrown by messagesFrom
  tell(child, task);
  return child;
}

/** A process that has ended already is told in vain: what it sent still comes, and its end is an error of `messagesFrom`. */
export function tell(child: ChildProcess, message: string | object): void {
  child.send(message, () => undefined); // without the function, a lost message would end the reading of those that came
}

function started(program: string): ChildProcess {
  try {
    return fork(program, [String(process.pid)], {
      serialization: 'advanced',
      execArgv: [`--max-old-space-size=${HEAP_MB}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
  } catch (error) {
    throw notStarted((error as Error).message); // for want of memory; want of anything else is told by an event
  }
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

/**
 * All that the process sends, in order; it is ended with the loop.
 * @throws the errors of `patience`, READER_LOST, or the signal's reason
 */
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
    throw endOf(...(await exited), patience);
  } catch (error) {
    either.throwIfAborted();
    const { syscall = '', message } = error as NodeJS.ErrnoException;
    throw syscall.startsWith('spawn') ? notStarted(message) : error;
  } finally {
    clearInterval(watching);
    child.kill('SIGKILL');
  }
}

/** The input is not to blame. */
const lost = (what: string): ModelFilesError => new ModelFilesError('READER_LOST', `the process that reads data ${what}`);
const notStarted = (why: string): ModelFilesError => lost(`could not be started: ${why}`);

/** Signals that a process sends itself where V8, or a library, can't go on: with an array that is too long, say. */
const OF_ITS_OWN = new Set(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV', 'SIGBUS', 'SIGFPE']);
/** A shell, or a container's init, tells of a signal by an exit code of so much more. */
const KILLED_BY = 128;

function endOf(code: number | null, signal: NodeJS.Signals | null, patience: Patience): Error {
  const numbers = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  const killedBy = signal ?? numbers.find(([, number]) => number + KILLED_BY === code)?.[0];
  if (killedBy === undefined) return new Error(`the reading process ended without an answer (exit code ${code})`);
  if (OF_ITS_OWN.has(killedBy)) return patience.tooLarge();
  return lost(`was killed from outside (${killedBy}), by a user or by the system for want of memory`);
}

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
