// node scripts/split-text.mjs FOLDER DOCUMENTS.jsonl [SHARE]
//
// Splits documents, a JSON object {"id", "text"} a line, into train.jsonl, validation.jsonl and test.jsonl. The documents whose id has the
// smallest SHA-256 digest are for validation, those after them for the test; each is SHARE of the documents (0.05). So the split depends on
// the ids alone. Each file is sorted as the documents were.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const [folder, documents, share = '0.05'] = process.argv.slice(2);
if (documents === undefined) {
  console.error('node scripts/split-text.mjs FOLDER DOCUMENTS.jsonl [SHARE]');
  process.exit(2);
}

const lines = readFileSync(documents, 'utf8')
  .split('\n')
  .filter((line) => line !== '');
const digestOf = (line) => createHash('sha256').update(JSON.parse(line).id).digest('hex');
const order = lines.map((line) => ({ line, digest: digestOf(line) })).sort((left, right) => (left.digest < right.digest ? -1 : 1));
const held = Math.round(lines.length * Number(share));
const partOf = new Map(order.map(({ line }, rank) => [line, rank < held ? 'validation' : rank < 2 * held ? 'test' : 'train']));

mkdirSync(folder, { recursive: true });
for (const part of ['train', 'validation', 'test']) {
  const chosen = lines.filter((line) => partOf.get(line) === part);
  writeFileSync(join(folder, `${part}.jsonl`), chosen.map((line) => `${line}\n`).join(''));
  console.log(`${part}: ${chosen.length} documents`);
}
