// Quantizes by llama.cpp, for types whose blocks only llama.cpp chooses. The quantizer comes from the library in the loader's package, or
// is llama-quantize on the PATH.
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { access, constants, readdir, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renewSeal } from '#artifact-store';
import { engineFolder, packageScript } from '#files';
import { EspalierError } from '#protocol';
import { newExportFolder } from '../measurements/artifact-files.js';

/** The numbers that llama.cpp has for these types of files. */
const TYPES: Record<string, number> = { q3_k_m: 12, q4_k_s: 14, q4_k_m: 15, q5_k_s: 16, q5_k_m: 17, q6_k: 18 };
export const QUANTIZED_TYPES = Object.keys(TYPES);
export const isQuantizedType = (dtype: string): boolean => Object.hasOwn(TYPES, dtype);
/** The number of values of a row that are quantized together. */
export const QUANTIZED_BLOCK = 256;

const root = (path: string): string => fileURLToPath(new URL(`../../../../../${path}`, import.meta.url));
const ERRORS_MAX = 1 << 20;
/** The message in which llama.cpp says that rows are not multiples of a block. */
const FALLBACK = /(\d+) of (\d+) tensor\(s\) required fallback/;

/** Returns the command and its arguments. */
export type Quantizer = (from: string, to: string, dtype: string, threads: number) => string[];

/** @throws EspalierError QUANTIZER_MISSING */
export async function findQuantizer(path = process.env['PATH'] ?? ''): Promise<Quantizer> {
  const library = await findLibrary();
  const own = join(engineFolder(), 'llama_quantize');
  if (library !== null && (await canRun(own)))
    return (from, to, dtype, threads) => [own, library, from, to, String(TYPES[dtype]), String(threads)];
  for (const folder of path.split(delimiter).filter((one) => one !== '')) {
    const command = join(folder, 'llama-quantize');
    if (await canRun(command)) return (from, to, dtype, threads) => [command, from, to, dtype.toUpperCase(), String(threads)];
  }
  throw new EspalierError(
    'QUANTIZER_MISSING',
    `${QUANTIZED_TYPES.join(', ')} are made by llama.cpp: ${packageScript('loader:llama-cpp')} installs it, ` +
      'or put its llama-quantize on the PATH',
    { metadata: { field: 'dtype' } },
  );
}

const canRun = (path: string): Promise<boolean> => access(path, constants.X_OK).then(
  () => true,
  () => false,
); // prettier-ignore

async function findLibrary(): Promise<string | null> {
  const name = `${process.platform}-${process.arch}`;
  const folder = root(`loaders/llama-cpp/node_modules/@node-llama-cpp/${name}/bins/${name}`);
  const files = await readdir(folder).catch(() => []);
  const library = files.find((file) => /^libllama\.(.*\.)?so$/.test(file));
  return library === undefined ? null : join(folder, library);
}

/** Returns the bytes of a GGUF file, quantized. @param addNote called with a note for the export */
export async function* quantized(
  from: string,
  dtype: string,
  quantizer: Quantizer,
  threads: number,
  signal: AbortSignal,
  addNote: (note: string) => void,
): AsyncGenerator<Uint8Array> {
  const folder = await newExportFolder();
  try {
    const to = join(folder, 'quantized.gguf');
    const said = await run(quantizer(from, to, dtype, threads), signal);
    await renewSeal(to); // llama.cpp has copied the seal of the unquantized file
    const [, other, all] = FALLBACK.exec(said) ?? [];
    addNote(
      `Quantized to ${dtype} by llama.cpp` +
        (other === undefined
          ? '.'
          : `; ${other} of ${all} tensors have a type of their own, as their rows are not multiples of ${QUANTIZED_BLOCK}.`),
    );
    yield* createReadStream(to) as AsyncIterable<Uint8Array>;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs the command and returns its output. @throws EspalierError QUANTIZER_FAILED */
function run([command = '', ...args]: string[], signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], signal, killSignal: 'SIGKILL' });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-ERRORS_MAX)));
    child.on('error', reject);
    child.on('close', (code, killedBy) => {
      if (code === 0) resolve(said);
      else reject(new EspalierError('QUANTIZER_FAILED', `llama.cpp's quantizer ended with ${code ?? killedBy}: ${lastLine(said)}`));
    });
  });
}

const lastLine = (text: string): string => (text.trimEnd().split('\n').at(-1) ?? '').slice(0, 1000);
