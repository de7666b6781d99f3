// Compares the speed and the ids of a model's tokenizer here with those of Hugging Face's in Rust. Espalier does not depend on the latter:
//   npm install --prefix FOLDER @anush008/tokenizers
//   node scripts/compare-tokenizers.mjs FOLDER MODEL TEXT.jsonl
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { loadTokenizer } from '../dist/libs/model-files/src/load-tokenizer.js';

const ROUNDS = 3;
const BATCH = 64;
const [folder, model, text] = process.argv.slice(2);
if (text === undefined) throw new Error('usage: node scripts/compare-tokenizers.mjs FOLDER MODEL TEXT.jsonl');

process.env.RAYON_NUM_THREADS ??= '1';
const { Tokenizer } = createRequire(join(resolve(folder), 'package.json'))('@anush008/tokenizers');
const read = (name) => readFileSync(join(model, name), 'utf8');
const own = loadTokenizer({ tokenizerJson: read('tokenizer.json'), configJson: read('tokenizer_config.json') });
const rust = await Tokenizer.fromFile(join(model, 'tokenizer.json'));
const documents = readFileSync(text, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).text);

async function inRust() {
  const ids = [];
  for (let at = 0; at < documents.length; at += BATCH)
    for (const encoding of await rust.encodeBatch(documents.slice(at, at + BATCH), true)) ids.push(encoding.getIds());
  return ids;
}

async function measured(name, encode) {
  let ids = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [before, began] = [process.cpuUsage(), performance.now()];
    ids = await encode();
    const { user, system } = process.cpuUsage(before);
    const tokens = ids.reduce((sum, one) => sum + one.length, 0);
    const millions = (seconds) => `${(tokens / seconds / 1e6).toFixed(2)} million a second`;
    const [whole, ofProcessor] = [(performance.now() - began) / 1000, (user + system) / 1e6];
    console.log(`${name}: ${tokens} tokens, ${millions(whole)}, ${millions(ofProcessor)} of processor`);
  }
  return ids;
}

const [ours, theirs] = [await measured('here', () => documents.map((one) => own.encode(one).ids)), await measured('Rust', inRust)];
const different = ours.findIndex((ids, index) => ids.length !== theirs[index].length || ids.some((id, at) => id !== theirs[index][at]));
console.log(different < 0 ? 'all ids are the same' : `document ${different + 1} has other ids`);
process.exitCode = different < 0 ? 0 : 1;
