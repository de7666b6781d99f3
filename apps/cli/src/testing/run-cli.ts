import { spawn } from 'node:child_process';
import { Readable, Writable } from 'node:stream';
import { programFile } from '#files';
import { runCommand } from '../run-command.js';

export interface CliResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}
const MAIN = programFile(new URL('../main.js', import.meta.url));
const HANGS_AFTER_MS = 240_000;

interface CliEnvironment {
  env?: Record<string, string>;
  cwd?: string;
}

/** The variables that the command sees. */
const variables = ({ env }: CliEnvironment): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  HOME: process.env['HOME'],
  HF_HUB_OFFLINE: '1',
  ...env,
});

let earlier: Promise<unknown> = Promise.resolve();

/**
 * Runs a command in the process of the test, since the start of a process takes longer than most commands. Commands run one after the
 * other, because each has the process's folder, variables, umask and streams for itself. Standard output is not a terminal.
 */
export function runCli(args: string[], environment: CliEnvironment = {}): Promise<CliResult> {
  const result = earlier.then(() => runHere(args, environment));
  earlier = result.catch(() => undefined);
  return result;
}

async function runHere(args: string[], environment: CliEnvironment): Promise<CliResult> {
  const [before, folder] = [process.env, process.cwd()];
  const [stdout, stderr] = [new Collected(), new Collected()];
  const streams = { stdout, stderr, stdin: Readable.from([]) };
  const usual = Object.getOwnPropertyDescriptors(process);
  const umask = process.umask(0o022);
  process.env = variables(environment);
  process.chdir(environment.cwd ?? folder);
  for (const [name, value] of Object.entries(streams))
    Object.defineProperty(process, name, { value, configurable: true, enumerable: true });
  let timer: NodeJS.Timeout | undefined;
  // A command that hangs fails its test, so that the next test can use the process.
  const hangs = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`espalier ${args.join(' ')} hangs:\n${stdout.text}${stderr.text}`)), HANGS_AFTER_MS);
  });
  try {
    const exitCode = await Promise.race([runCommand(args), hangs]);
    return { exitCode, stdout: stdout.text, stderr: stderr.text };
  } finally {
    clearTimeout(timer);
    for (const name of Object.keys(streams) as (keyof typeof streams)[]) Object.defineProperty(process, name, usual[name]);
    process.env = before;
    process.chdir(folder);
    process.umask(umask);
  }
}

class Collected extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** Runs a command as a user's shell would, in a process of its own. Standard output is not a terminal. */
export function runProcess(
  args: string[],
  options: CliEnvironment & {
    /** The user id that runs the command, if it is another user. */
    uid?: number;
    onOutput?: (sofar: string, kill: (signal: NodeJS.Signals) => void) => void;
    onErrorOutput?: (sofar: string) => void;
    /** Sends this signal when the promise resolves. */
    stop?: Promise<NodeJS.Signals>;
  } = {},
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: options.cwd ?? process.cwd(),
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: variables(options),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      options.onOutput?.(stdout, (signal) => child.kill(signal));
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
      options.onErrorOutput?.(stderr);
    });
    void options.stop?.then((signal) => child.kill(signal));
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}
