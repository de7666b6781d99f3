// Texts to prepare that no run has read before.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TRAINING_DATA } from './server.js';

let texts = 0;

/** Writes a new text into the folder. One of a hundred documents takes some seconds to tokenize. */
export function newText(folder: string, documents: number): string {
  const path = join(folder, `text-${(texts += 1)}.jsonl`);
  const lines = readFileSync(TRAINING_DATA, 'utf8').split('\n').slice(0, documents);
  writeFileSync(path, `${lines.join('\n')}\n{"text":"the ${texts}th"}\n`);
  return path;
}
