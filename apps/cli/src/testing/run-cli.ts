import { spawn } from 'node:child_process';
import { programFile } from '#files';

export interface CliResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}
const MAIN = programFile(new URL('../main.js', import.meta.url));

/** Runs the command as a user's shell would. Standard output is no terminal. */
export function runCli(
  args: string[],
  options: {
    env?: Record<string, string>;
    cwd?: string;
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
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...options.env },
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
