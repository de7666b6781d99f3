// Tests text from tokens as they arrive: the pieces joined are the text, and no piece ends within a character.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openTextEncoder } from './text-encoder.js';
import { loadTokenizer } from '../load-tokenizer.js';
import { TextTokenizer } from './text-tokenizer.js';

const tinyModel = fileURLToPath(new URL('../../../../../testdata/models/gqa-random-tiny', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-text-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * A tokenizer like Llama 2's: "▁" stands for a space, decoding removes the one before the text, and characters without a token become
 * bytes.
 */
const sentencePieceLike = {
  added_tokens: [{ id: 0, content: '<s>', special: true, normalized: false, lstrip: false, rstrip: false, single_word: false }],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    byte_fallback: true,
    vocab: Object.fromEntries(
      [
        '<s>',
        '▁',
        'a',
        'b',
        '▁a',
        '▁b',
        ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
      ].map((token, id) => [token, id]),
    ),
    merges: ['▁ a', '▁ b'],
  },
};

async function tokenizerIn(name: string, files: Record<string, unknown>): Promise<TextTokenizer> {
  const path = mkdtempSync(join(folder, `${name}-`));
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), JSON.stringify(content));
  return TextTokenizer.read(path);
}

function piecesOf(tokenizer: TextTokenizer, prompt: string, whole: string): string[] {
  const before = tokenizer.encode(prompt);
  const ids = tokenizer.encode(whole);
  expect(ids.slice(0, before.length)).toEqual(before);
  const text = tokenizer.after(before);
  return [...ids.slice(before.length).map((id) => text.push(id)), text.end()];
}

test("words by GPT-2's pattern end at Unicode's spaces: at U+0085, and not at U+FEFF", () => {
  const bytes = ['ï', '»', '¿', 'Â', 'ħ', '!', '¿!', 'ħ!']; // the bytes of both characters, as GPT-2 spells them
  const description = {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(bytes.map((token, id) => [token, id])), merges: ['¿ !', 'ħ !'] },
  };
  const tokenizer = loadTokenizer({ tokenizerJson: JSON.stringify(description), configJson: '{}' });
  expect(tokenizer.encode('\uFEFF!').tokens).toEqual(['ï', '»', '¿!']);
  expect(tokenizer.encode('\u0085!').tokens).toEqual(['Â', 'ħ', '!']);
});

test.each(['Once upon', 'Zoë'])('pieces make the text that follows "%s"', async (prompt) => {
  const tokenizer = await TextTokenizer.read(tinyModel);
  const rest = ' a time, naïve 東京 and 👩‍🚀 met.\n\n  Then?';
  const pieces = piecesOf(tokenizer, prompt, prompt + rest);
  expect(pieces.join('')).toBe(rest);
  expect(pieces.filter((piece) => piece.includes('\uFFFD'))).toEqual([]);
});

test('a space that the tokenizer would leave out at the beginning of a text is there', async () => {
  const tokenizer = await tokenizerIn('spaces', { 'tokenizer.json': sentencePieceLike });
  const pieces = piecesOf(tokenizer, 'a b', 'a b a 東 b');
  expect(pieces.join('')).toBe(' a 東 b');
  expect(pieces.filter((piece) => piece.includes('\uFFFD'))).toEqual([]);
});

test('bytes that never become a character are told at the end', async () => {
  const tokenizer = await tokenizerIn('bytes', { 'tokenizer.json': sentencePieceLike });
  const text = tokenizer.after(tokenizer.encode('a'));
  const [first] = tokenizer.encode('東').slice(-3);
  expect(text.push(first!)).toBe('');
  expect(text.end()).toBe('\uFFFD');
});

test('a text ends with the tokens of generation_config.json, else of config.json', async () => {
  const named = async (files: Record<string, unknown>) =>
    (await tokenizerIn('ends', { 'tokenizer.json': sentencePieceLike, ...files })).endTokens;
  expect(await named({ 'generation_config.json': { eos_token_id: [7, 9] }, 'config.json': { eos_token_id: 2 } })).toEqual([7, 9]);
  expect(await named({ 'generation_config.json': {}, 'config.json': { eos_token_id: 2 } })).toEqual([2]);
  expect(await named({})).toEqual([]);
});

describe('special tokens are those of the questions of tasks', () => {
  const config = { tokenizer_class: 'LlamaTokenizer', bos_token: '<s>', eos_token: { content: 'b' } };
  const BOS = 0;
  const [A, B] = [4, 3];
  test.each([
    ['a tokenizer of LLaMA without a post-processor has BOS', config, 'a', [BOS, A]],
    ['not where it is told not to', { ...config, add_bos_token: false, add_eos_token: true }, 'a', [A, B]],
    ['not where the prompt begins with it', config, '<s>a', [BOS, A]],
    ['not where the class leaves it to the post-processor', { ...config, tokenizer_class: 'PreTrainedTokenizerFast' }, 'a', [A]],
  ])('%s', async (_, tokenizerConfig, prompt, ids) => {
    const files = { 'tokenizer.json': sentencePieceLike, 'tokenizer_config.json': tokenizerConfig };
    expect((await tokenizerIn('special', files)).encode(prompt)).toEqual(ids);
    const path = mkdtempSync(join(folder, 'encoder-'));
    for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), JSON.stringify(content));
    const encoder = await openTextEncoder(path, 300);
    try {
      expect(await encoder.encode([{ text: prompt, file: 'f', line: 1 }])).toEqual([Uint32Array.from(ids)]);
    } finally {
      await encoder.close();
    }
  });
});
