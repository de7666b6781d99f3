// llama.cpp's own quantizer, for types whose blocks only it chooses: out of the library that the loader's package brings, or
// llama-quantize on the PATH. It works on files, so what the engine writes goes through a folder of its own.
import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, constants, readdir, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { renewSeal } from '#artifact-store';
import { packageScript } from '#files';
import { EspalierError } from '#protocol';
import { newExportFolder } from '../measurements/subjects.js';

/** llama.cpp's numbers of these kinds of files. */
const TYPES: Record<string, number> = { q3_k_m: 12, q4_k_s: 14, q4_k_m: 15, q5_k_s: 16, q5_k_m: 17, q6_k: 18 };
export const QUANTIZED_TYPES = Object.keys(TYPES);
export const isQuantizedType = (dtype: string): boolean => Object.hasOwn(TYPES, dtype);
/** Values of a row that are quantized together. */
export const QUANTIZED_BLOCK = 256;

const root = (path: string): string => fileURLToPath(new URL(`../../../../../${path}`, import.meta.url));
const ERRORS_MAX = 1 << 20;
/** As llama.cpp says that rows are no multiples of a block. */
const FALLBACK = /(\d+) of (\d+) tensor\(s\) required fallback/;

/** The command and its words. */
export type Quantizer = (from: string, to: string, dtype: string, threads: number) => string[];

/** @throws EspalierError QUANTIZER_MISSING */
export async function findQuantizer(path = process.env['PATH'] ?? ''): Promise<Quantizer> {
  const library = await findLibrary();
  const own = root('native-engine/build/llama_quantize');
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

/** The bytes of a GGUF file as those of the quantized one. @param tell a note for the export */
export async function* quantized(
  content: AsyncIterable<Uint8Array>,
  dtype: string,
  quantizer: Quantizer,
  threads: number,
  signal: AbortSignal,
  tell: (note: string) => void,
): AsyncGenerator<Uint8Array> {
  const folder = await newExportFolder();
  try {
    const [from, to] = [join(folder, 'whole.gguf'), join(folder, 'quantized.gguf')];
    await pipeline(content, createWriteStream(from), { signal });
    const said = await run(quantizer(from, to, dtype, threads), signal);
    await rm(from);
    await renewSeal(to); // llama.cpp took over that of the whole file
    const [, other, all] = FALLBACK.exec(said) ?? [];
    tell(
      `Quantized to ${dtype} by llama.cpp` +
        (other === undefined
          ? '.'
          : `; ${other} of ${all} tensors have a type of their own, as their rows are no multiples of ${QUANTIZED_BLOCK}.`),
    );
    yield* createReadStream(to) as AsyncIterable<Uint8Array>;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Its words. @throws EspalierError QUANTIZER_FAILED */
function run([command, ...args]: string[], signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'], signal, killSignal: 'SIGKILL' });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-ERRORS_MAX)));
    child.on('error', reject);
    child.on('close', (code, killedBy) => {
      if (code === 0) resolve(said);
      else reject(new EspalierError('QUANTIZER_FAILED', `llama.cpp's quantizer ended with ${code ?? killedBy}: ${lastLine(said)}`));
    });
  });
}

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1)!.slice(0, 1000);
