// Tests a document that a tokenizer takes for one word: the ids are those of the unmodified library, wherever the document is cut.
import * as library from '@huggingface/tokenizers';
import { loadTokenizer } from './load-tokenizer.js';

interface Plain {
  encode(text: string): { ids: number[] };
}
const Original = library.Tokenizer as unknown as new (tokenizer: object, config: object) => Plain;

/** A tokenizer like Llama 2's: spaces become "▁", and only the merges divide a text. */
function tokenizerJson(merges: [string, string][]): object {
  const tokens = [...'▁ t h e a n x'.split(' '), ...merges.map(([left, right]) => left + right)];
  return {
    added_tokens: [],
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'BPE', unk_token: null, vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}

const MERGES: [string, string][] = [
  ['h', 'e'],
  ['▁', 't'],
  ['▁', '▁'],
  ['▁t', 'he'],
  ['t', 'h'],
  ['a', 'n'],
  ['▁▁', '▁▁'],
  ['n', 't'],
  ['▁', 'a'],
  ['▁▁', 't'],
  ['x', 'x'],
];

/** Letters and spaces in a random order, which depends only on the seed. */
function text(length: number, seed: number): string {
  let state = seed;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return '  theanx'[(state >> 16) % 8];
  }).join('');
}

test.each([
  ['no merge joins a word and the space after it', MERGES],
  ['one does', [...MERGES, ['e', '▁'] as [string, string]]],
])('where %s', (_, merges) => {
  const json = tokenizerJson(merges);
  const original = new Original(json, {});
  const ours = loadTokenizer({ tokenizerJson: JSON.stringify(json), configJson: '{}' });
  for (let seed = 1; seed < 40; seed += 1) {
    const one = text(30 * seed, seed);
    expect([seed, ours.encode(one).ids]).toEqual([seed, original.encode(one).ids]);
  }
});
