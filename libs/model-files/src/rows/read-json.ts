// Reads a .json file: one array of objects, or one object in each line, as many data sets have it.
import { JSONParser } from '@streamparser/json';
import type { DataFile } from './data-files.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
import { readBytes, readUtf8, type BytesRead } from './read-bytes.js';
import { UnpackBudget } from './unpack-budget.js';

const ELEMENT_LIMIT_BYTES = 256 << 20;

export async function isJsonArray(file: DataFile): Promise<boolean> {
  for await (const chunk of readBytes(file, new UnpackBudget(), () => undefined)) {
    const first = chunk.toString('latin1').replace('\u00ef\u00bb\u00bf', '').trimStart()[0];
    if (first !== undefined) return first === '[';
  }
  return false;
}

/** Yields the elements of the array in order. Memory holds only the elements of one chunk. */
export async function* readJsonArray(file: DataFile, budget: UnpackBudget, onBytes: BytesRead): AsyncGenerator {
  const parser = new JSONParser({ paths: ['$.*'], keepStack: false });
  let elements: unknown[] = [];
  let read = 0;
  let bytesSinceElement = 0;
  parser.onValue = ({ value }) => {
    elements.push(value);
    bytesSinceElement = 0;
  };
  try {
    for await (const { text, byteLength } of readUtf8(file, budget, onBytes)) {
      bytesSinceElement += byteLength;
      parser.write(text);
      read += elements.length;
      yield* elements;
      elements = [];
      if (bytesSinceElement > ELEMENT_LIMIT_BYTES)
        throw malformed(file.path, read + 1, `longer than ${ELEMENT_LIMIT_BYTES >> 20} MiB, the limit of an element`);
    }
    if (!parser.isEnded) throw new Error('the array does not end');
  } catch (error) {
    if (error instanceof ModelFilesError) throw error;
    throw malformed(file.path, read + elements.length + 1, `not valid JSON (${(error as Error).message})`);
  }
  yield* elements;
}
