// Loads a model's own tokenizer, and makes it faster without changing the ids that it gives.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as library from '@huggingface/tokenizers';
import { readUserFile, requireUserFile, UserFileError } from '#files';
import { ModelFilesError } from './model-files.errors.js';
import { limitGrowth } from './tokenizer-limits.js';

export interface Tokenizer {
  /** Encodes a text, by default with the special tokens that the tokenizer's post-processor adds. */
  encode(text: string, options?: { add_special_tokens?: boolean }): { ids: (number | undefined)[]; tokens: string[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
}
export interface TokenizerFiles {
  tokenizerJson: string;
  /** The text of tokenizer_config.json; "{}" where the model has none. */
  configJson: string;
  /** The SHA-256 of tokenizer.json. */
  tokenizerDigest: string;
  configDigest: string;
}

/** The largest tokenizers in use have about 40 MB. */
const TOKENIZER_BYTES_MAX = 128 << 20;
const CONFIG_BYTES_MAX = 16 << 20;

const JSON_FILE = 'tokenizer.json';
const CONFIG_FILE = 'tokenizer_config.json'; // not every model has this file

/** Checks that the tokenizer's files are there and can be read. */
export async function requireTokenizer(modelPath: string): Promise<void> {
  const [json, config] = [join(modelPath, JSON_FILE), join(modelPath, CONFIG_FILE)];
  const found = await ofModel(json, () => requireUserFile(json, TOKENIZER_BYTES_MAX).then(() => true));
  if (found === null) throw noTokenizer(json);
  await ofModel(config, () => requireUserFile(config, CONFIG_BYTES_MAX));
}

function noTokenizer(file: string): ModelFilesError {
  const hint = 'a model folder needs the tokenizer.json of its tokenizer (a tokenizer.model alone has to be converted)';
  return new ModelFilesError('TOKENIZER_NOT_FOUND', `there is no ${file}; ${hint}`, { field: 'model_path', file });
}

export async function readTokenizerFiles(modelPath: string, signal?: AbortSignal): Promise<TokenizerFiles> {
  const json = await readModelFile(modelPath, JSON_FILE, TOKENIZER_BYTES_MAX, signal);
  if (json === null) throw noTokenizer(join(modelPath, JSON_FILE));
  const config = await readTokenizerConfig(modelPath, signal);
  return {
    tokenizerJson: json.toString('utf8'),
    configJson: config.toString('utf8'),
    tokenizerDigest: sha256(json),
    configDigest: sha256(config),
  };
}

export async function readTokenizerConfig(modelPath: string, signal?: AbortSignal): Promise<Buffer> {
  return (await readModelFile(modelPath, CONFIG_FILE, CONFIG_BYTES_MAX, signal)) ?? Buffer.from('{}');
}

/** Reads a file of the model's folder; null: there is no such file. */
export async function readModelFile(modelPath: string, name: string, limitBytes: number, signal?: AbortSignal): Promise<Buffer | null> {
  const file = join(modelPath, name);
  return ofModel(file, () => readUserFile(file, limitBytes, signal));
}

async function ofModel<T>(file: string, read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof UserFileError)) throw error;
    if (error.code === 'FILE_NOT_FOUND') return null;
    const code = error.code === 'FILE_UNUSABLE' ? 'TOKENIZER_NOT_FOUND' : error.code;
    throw new ModelFilesError(code, error.message, { field: 'model_path', file });
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function loadTokenizer(files: Pick<TokenizerFiles, 'tokenizerJson' | 'configJson'>): Tokenizer {
  try {
    const description = JSON.parse(files.tokenizerJson) as TokenizerDescription;
    requireTokenIds(description);
    const tokenizer = new huggingFace.Tokenizer(description, JSON.parse(files.configJson) as object);
    rememberMerges(tokenizer.model);
    cutBeforeSpaces(tokenizer.model);
    rememberByteLevels(tokenizer.pre_tokenizer);
    limitGrowth(tokenizer.normalizer);
    return tokenizer;
  } catch (error) {
    throw new ModelFilesError('TOKENIZER_INVALID', `tokenizer.json can't be used: ${(error as Error).message}`, { field: 'model_path' });
  }
}

/** Returns the text of a special token in tokenizer_config.json, where it stands by itself or in an object. */
export function tokenContent(value: unknown): string | undefined {
  const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof content === 'string' ? content : undefined;
}

interface TokenizerDescription {
  model?: { vocab?: unknown };
  added_tokens?: { content?: unknown; id?: unknown }[];
}

/**
 * Checks that token ids are whole numbers, since the library takes any. An id beyond the model's vocabulary, such as padding, is allowed
 * here as long as no text gives it.
 */
function requireTokenIds({ model, added_tokens: added }: TokenizerDescription): void {
  const vocabulary = model?.vocab;
  const byName = typeof vocabulary === 'object' && vocabulary !== null && !Array.isArray(vocabulary) ? Object.entries(vocabulary) : [];
  for (const [token, id] of [...byName, ...(added ?? []).map(({ content, id }) => [content, id] as const)]) {
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0) continue;
    throw new Error(`token ${JSON.stringify(token)} has id ${JSON.stringify(id)}; whole numbers from 0 on are allowed`);
  }
}

// Declares the parts of the library that are used here, because its type files don't resolve under nodenext.
type Class<T> = abstract new (...parameters: never[]) => T;
const huggingFace = library as unknown as {
  Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
  BPE: Class<BytePairModel>;
  SequencePreTokenizer: Class<{ tokenizers: unknown[] }>;
  ByteLevelPreTokenizer: Class<ByteLevel>;
};
interface LibraryTokenizer extends Tokenizer {
  model: unknown;
  normalizer: unknown;
  pre_tokenizer: unknown;
}
interface BytePairModel {
  cache: { get(word: string): string[] | undefined; put(word: string, tokens: string[]): void; clear(): void };
  merges: [string, string][];
  end_of_word_suffix?: string | null;
  continuing_subword_suffix?: string | null;
  bpe(word: string): string[];
}
interface ByteLevel {
  add_prefix_space: boolean;
  use_regex: boolean;
  byte_encoder: Record<number, string>;
  text_encoder: { encode(text: string): Uint8Array };
  pre_tokenize_text(text: string): string[];
}

const REMEMBERED_WORDS = 200_000;

class WordMemory<T> {
  private readonly words = new Map<string, T>();
  get(word: string): T | undefined {
    return this.words.get(word);
  }
  put(word: string, value: T): void {
    if (this.words.size >= REMEMBERED_WORDS) this.words.clear();
    this.words.set(word, value);
  }
  clear(): void {
    this.words.clear();
  }
}

/**
 * Replaces the cache of merges by a plain map. The library keeps 10,000 words in a list by age, whose upkeep costs more than all the rest.
 */
function rememberMerges(model: unknown): void {
  if (model instanceof huggingFace.BPE) model.cache = new WordMemory<string[]>();
}

/** SentencePiece's sign for a space. */
const SPACE = '▁';
/** A shorter word is merged quickly as a whole. */
const CUT_FROM_CHARACTERS = 64;

/**
 * Cuts long words before spaces. A tokenizer without a pre-tokenizer, such as Llama 2's, takes a whole document for one word, and merges in
 * a long word are slow: 50 MB took a quarter of an hour. If no merge joins the end of a word and the space after it, no merge reaches
 * across such a place, so the words can be merged one by one.
 */
function cutBeforeSpaces(model: unknown): void {
  if (!(model instanceof huggingFace.BPE) || model.end_of_word_suffix || model.continuing_subword_suffix) return;
  if (model.merges.some(([left, right]) => right.startsWith(SPACE) && !left.endsWith(SPACE))) return;
  const merged = model.bpe.bind(model);
  model.bpe = (word) => {
    if (word.length < CUT_FROM_CHARACTERS) return merged(word);
    const tokens: string[] = [];
    for (const part of word.split(/(?<=[^▁])(?=▁)/u)) for (const token of merged(part)) tokens.push(token);
    return tokens;
  };
}

/** GPT-2's pattern. Its spaces are those of Unicode: JavaScript's \s has U+FEFF, too, and lacks U+0085. */
const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Caches how words are spelled byte by byte. This is the next largest cost, and most words repeat. */
function rememberByteLevels(preTokenizer: unknown): void {
  if (preTokenizer instanceof huggingFace.SequencePreTokenizer) {
    preTokenizer.tokenizers.forEach(rememberByteLevels);
  }
  if (!(preTokenizer instanceof huggingFace.ByteLevelPreTokenizer)) return;
  const level = preTokenizer;
  const spelled = new WordMemory<string>();
  level.pre_tokenize_text = (text) => {
    const whole = level.add_prefix_space && !text.startsWith(' ') ? ` ${text}` : text;
    const words: string[] = level.use_regex ? (whole.match(GPT2_WORDS) ?? []) : [whole];
    for (let index = 0; index < words.length; index++) {
      const word = words[index]!;
      let spelling = spelled.get(word);
      if (spelling === undefined) {
        spelling = Array.from(level.text_encoder.encode(word), (byte) => level.byte_encoder[byte]).join('');
        spelled.put(word, spelling);
      }
      words[index] = spelling;
    }
    return words;
  };
}
