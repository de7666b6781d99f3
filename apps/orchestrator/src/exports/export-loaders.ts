// Other programs that evaluate an export, each confined in its own process: llama.cpp, and PyTorch without the engine. They end when
// their standard input closes, so they don't outlive this process, however it ends.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageScript } from '#files';
import { confined, type Confined, type Confinement } from './confined.js';

export interface LoaderRequest extends Confinement {
  window: number;
  ids: number[];
  threads: number;
}
/** The answer of a loader. A computed likelihood may not be a finite number, which says more about the export than about the loader. */
export type LoaderAnswer =
  | { outcome: 'computed'; loader: string; negativeLogLikelihood: number; inReach?: string }
  | { outcome: 'failed' | 'untried'; loader: string; message: string };

const loaders = fileURLToPath(new URL('../../../../../loaders/', import.meta.url));
const EXIT_WITH_STDIN = '--exit-with-stdin';
const MISSING = 'no such program';
const NO_PYTORCH = 3; // evaluate.py ends with this status
const GIVE_UP_AFTER_MS = 30 * 60_000;
const ANSWER_MAX_BYTES = 1 << 20;

export async function evaluateWithLlamaCpp(request: LoaderRequest, signal: AbortSignal): Promise<LoaderAnswer> {
  const loader = 'llama.cpp';
  if (!existsSync(join(loaders, 'llama-cpp/node_modules/node-llama-cpp'))) {
    return { outcome: 'untried', loader, message: `it is not installed: ${packageScript('loader:llama-cpp')}` };
  }
  const script = join(loaders, 'llama-cpp/evaluate.mjs');
  return answerOf(loader, await run((folder) => [process.execPath, script, join(folder, 'model.gguf')], request, signal));
}

export async function evaluateWithPyTorch(request: LoaderRequest, signal: AbortSignal): Promise<LoaderAnswer> {
  const loader = 'PyTorch';
  const own = process.env['ESPALIER_PYTHON'];
  for (const python of own === undefined ? ['python3', '/usr/bin/python3'] : [own]) {
    const ended = await run((folder) => [python, join(loaders, 'torch/evaluate.py'), folder], request, signal);
    if (ended.status !== NO_PYTORCH && ended.status !== MISSING) return answerOf(loader, ended);
  }
  return { outcome: 'untried', loader, message: 'no Python with PyTorch was found (ESPALIER_PYTHON names one)' };
}

interface Ended {
  /** The exit status, the signal, or the reason why the process did not start. */
  status: number | string;
  output: string;
  errors: string;
  inReach: string;
}

/** @param words the words of the program, by the folder in which it finds the export */
async function run(words: (folder: string) => string[], request: LoaderRequest, signal: AbortSignal): Promise<Ended> {
  if (!(await isThere(words('')[0] ?? ''))) return { status: MISSING, output: '', errors: '', inReach: '' };
  const { window, ids, threads } = request;
  return confined(
    request,
    (folder) => [...words(folder), EXIT_WITH_STDIN],
    (program) => started(program, { window, ids, threads }, signal),
  );
}

/** Tells whether a program can be started. Its confinement would report a program that is not there as a failure. */
async function isThere(program: string): Promise<boolean> {
  const folders = program.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter);
  for (const folder of folders)
    if (
      await access(join(folder, program), constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return true;
  return false;
}

function started({ command, args, env, inReach }: Confined, request: object, signal: AbortSignal): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      signal: AbortSignal.any([signal, AbortSignal.timeout(GIVE_UP_AFTER_MS)]),
      killSignal: 'SIGKILL',
    });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-ANSWER_MAX_BYTES)));
    child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-ANSWER_MAX_BYTES)));
    child.stdin.on('error', () => undefined); // the loader may end before it has read all; its status then says why
    child.stdin.write(`${JSON.stringify(request)}\n`);
    child.on('error', (error) => resolve({ status: error.message, output, errors, inReach }));
    child.on('close', (code, killedBy) => resolve({ status: code ?? killedBy ?? 'unknown', output, errors, inReach }));
  });
}

function answerOf(loader: string, { status, output, errors, inReach }: Ended): LoaderAnswer {
  if (status !== 0) return { outcome: 'failed', loader, message: `it ended with ${status}: ${lastLine(errors)}` };
  try {
    const answer = JSON.parse(lastLine(output)) as { loader?: unknown; negativeLogLikelihood?: unknown };
    const negativeLogLikelihood = numberOf(answer.negativeLogLikelihood);
    if (typeof answer.loader === 'string' && negativeLogLikelihood !== undefined) {
      return { outcome: 'computed', loader: answer.loader, negativeLogLikelihood, inReach };
    }
  } catch {
    // reported below
  }
  return { outcome: 'failed', loader, message: `it answered ${lastLine(output).slice(0, 200) || 'nothing'}` };
}

/** Reads a number. JSON has no NaN and no infinity, so loaders write their names. */
function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'string' && ['NaN', 'Infinity', '-Infinity'].includes(value) ? Number(value) : undefined;
}

function lastLine(text: string): string {
  return (text.trimEnd().split('\n').at(-1) ?? '').slice(0, 4000);
}
