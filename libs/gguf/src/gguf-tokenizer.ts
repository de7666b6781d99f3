// Makes tokenizer.json and tokenizer_config.json of a GGUF file's metadata. This is the way back from the engine's own exports
// (native-engine/core/export/gguf/gguf_tokenizer.cpp). A text gets the tokens that llama.cpp gives it, which composes no characters. A
// tokenizer of another kind is refused by name.
import { invalid, quoted, unsupported } from './gguf-error.js';
import { Metadata, needed } from './gguf-metadata.js';
import type { GgufValue } from './read-gguf.js';

export interface TokenizerOfGguf {
  /** By the names of files. */
  files: Record<string, object>;
  /** Fields of config.json. */
  ids: Record<string, number>;
}

const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED] = [1, 2, 3, 4, 5];
const SPACE_MARK = '▁';
const RULE = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`;
const REST = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const [UPPER, LOWER, BEFORE] = [
  String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`,
  String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`,
  String.raw`[^\r\n\p{L}\p{N}]?`,
];

interface WordRule {
  /** The expression that cuts a text into words; null: GPT-2's. */
  regex: string | null;
  digitsAlone?: true;
  /** A word that is a token stays whole. */
  ignoreMerges?: true;
  /** A text begins with the token of beginnings where the file doesn't say. */
  addsBos?: true;
}

const LLAMA3: WordRule = { regex: String.raw`${RULE}\p{N}{1,3}|${REST}`, ignoreMerges: true, addsBos: true };
const DIGITS: WordRule = { regex: null, digitsAlone: true };
const QWEN2: WordRule = { regex: String.raw`${RULE}\p{N}|${REST}` };
/** By tokenizer.ggml.pre. The expressions are those of the tokenizer.json files for which llama.cpp's rules were written. */
const WORD_RULES: ReadonlyMap<string, WordRule> = new Map([
  ['gpt-2', { regex: null }],
  ['olmo', { regex: null }],
  ['smollm', DIGITS],
  ['refact', DIGITS],
  ['starcoder', DIGITS],
  ['llama-bpe', LLAMA3],
  ['llama3', LLAMA3],
  ['llama-v3', LLAMA3],
  ['falcon3', LLAMA3],
  ['dbrx', { regex: LLAMA3.regex }],
  ['smaug-bpe', { regex: LLAMA3.regex }],
  ['qwen2', QWEN2],
  ['deepseek-r1-qwen', QWEN2],
  [
    'tekken',
    {
      regex: String.raw`${BEFORE}${UPPER}*${LOWER}+|${BEFORE}${UPPER}+${LOWER}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
      ignoreMerges: true,
      addsBos: true,
    },
  ],
]);

/** The parts of tokenizer.json in which the two kinds of tokenizers differ. */
interface Kind {
  normalizer: object | null;
  pre_tokenizer: object | null;
  decoder: object;
  model: object;
  addsBos: boolean;
}

/** Returns null where the file has no tokenizer. @throws GgufError */
export function tokenizerOfGguf(values: ReadonlyMap<string, GgufValue>, rows: number): TokenizerOfGguf | null {
  const metadata = new Metadata(values);
  const model = metadata.text(`${GGML}model`) ?? 'no_vocab';
  if (model === 'no_vocab' || model === 'none') return null;
  if (model !== 'gpt2' && model !== 'llama')
    throw unsupported(`${GGML}model is ${quoted(model)}; allowed are gpt2 (byte-level BPE) and llama (BPE of SentencePiece)`);
  const vocabulary = vocabularyOf(metadata, rows);
  const special = specialTokens(metadata, vocabulary, model === 'llama');
  const {
    addsBos,
    model: ownModel,
    ...parts
  } = model === 'gpt2' ? byteLevel(metadata, vocabulary) : sentencePiece(metadata, vocabulary, special.unk);
  const begin = (metadata.flag(`${GGML}add_bos_token`) ?? addsBos) ? needed(special.bos, `${GGML}bos_token_id`) : undefined;
  const end = metadata.flag(`${GGML}add_eos_token`) === true ? needed(special.eos, `${GGML}eos_token_id`) : undefined;
  const template = metadata.text('tokenizer.chat_template');
  const ids = defined({ bos_token_id: special.bos?.id, eos_token_id: special.eos?.id, pad_token_id: special.pad?.id });
  const ends = [...new Set([special.eos?.id, special.eot?.id])].filter((id) => id !== undefined);
  const files = {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      ...parts,
      post_processor: templateOf(begin, end),
      model: { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, ...ownModel },
    },
    'tokenizer_config.json': {
      // For classes of known models transformers makes a pre-tokenizer of its own, and ignores that of tokenizer.json.
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      ...defined({
        bos_token: special.bos?.text,
        eos_token: special.eos?.text,
        unk_token: special.unk?.text,
        pad_token: special.pad?.text,
      }),
      ...defined({ chat_template: template }),
    },
    // Texts end with any of these tokens.
    ...(ends.length > 1 ? { 'generation_config.json': { ...ids, eos_token_id: ends } } : {}),
  };
  return { files, ids };
}

const GGML = 'tokenizer.ggml.';

function defined<T>(values: Record<string, T | undefined>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, T] => entry[1] !== undefined));
}

interface Vocabulary {
  tokens: string[];
  types: number[];
  ids: ReadonlyMap<string, number>;
}

function vocabularyOf(metadata: Metadata, rows: number): Vocabulary {
  const tokens = needed(metadata.texts(`${GGML}tokens`), `${GGML}tokens`);
  const types = metadata.numbers(`${GGML}token_type`) ?? tokens.map(() => NORMAL);
  if (tokens.length > rows) throw invalid(`the file names ${tokens.length} tokens, and its embeddings have ${rows} rows`);
  if (types.length !== tokens.length) throw invalid(`the file names ${tokens.length} tokens, and the types of ${types.length}`);
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (types[id] === UNUSED) return; // such a name fills a row
    if (ids.has(token)) throw invalid(`the token ${quoted(token)} has two ids, ${ids.get(token)} and ${id}`);
    ids.set(token, id);
  });
  return { tokens, types, ids };
}

interface Token {
  id: number;
  text: string;
}

function specialTokens(
  metadata: Metadata,
  { tokens }: Vocabulary,
  isSentencePiece: boolean,
): Record<'bos' | 'eos' | 'eot' | 'unk' | 'pad', Token | undefined> {
  const of = (key: string, usual?: number): Token | undefined => {
    const id = metadata.whole(`${GGML}${key}_token_id`) ?? (isSentencePiece ? usual : undefined);
    if (id === undefined) return undefined;
    if (id >= tokens.length) throw invalid(`${GGML}${key}_token_id is ${id}, and there are ${tokens.length} tokens`);
    return { id, text: tokens[id]! };
  };
  return { bos: of('bos', 1), eos: of('eos', 2), eot: of('eot'), unk: of('unknown', 0), pad: of('padding') };
}

/** The tokens that are found in a text before it is cut into words. */
function addedTokens({ tokens, types }: Vocabulary): object[] {
  return tokens.flatMap((content, id) => {
    const type = types[id]!;
    if (![UNKNOWN, CONTROL, USER_DEFINED].includes(type)) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: type !== USER_DEFINED }];
  });
}

function templateOf(begin: Token | undefined, end: Token | undefined): object | null {
  if (begin === undefined && end === undefined) return null;
  const around = (parts: object[], type: number): object[] => {
    const special = (token: Token | undefined): object[] =>
      token === undefined ? [] : [{ SpecialToken: { id: token.text, type_id: type } }];
    return [...special(begin), ...parts, ...special(end)];
  };
  const [one, other] = [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }];
  const named = [begin, end].flatMap((token) =>
    token === undefined ? [] : [[token.text, { id: token.text, ids: [token.id], tokens: [token.text] }] as const],
  );
  return {
    type: 'TemplateProcessing',
    single: around([one], 0),
    pair: [...around([one], 0), ...around([other], 1)],
    special_tokens: Object.fromEntries(named),
  };
}

function byteLevel(metadata: Metadata, vocabulary: Vocabulary): Kind {
  const name = metadata.text(`${GGML}pre`) ?? '';
  const rule = WORD_RULES.get(name);
  if (rule === undefined) {
    const allowed = [...WORD_RULES.keys()].join(', ');
    throw unsupported(
      `${GGML}pre, the rule that cuts a text into words, is ${name === '' ? 'missing' : quoted(name)}; allowed are ${allowed}`,
    );
  }
  if (metadata.flag(`${GGML}add_space_prefix`) === true)
    throw unsupported(`${GGML}add_space_prefix is true; false is allowed for byte-level BPE`);
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: rule.regex === null };
  const split = { type: 'Split', pattern: { Regex: rule.regex }, behavior: 'Isolated', invert: false };
  const before = rule.digitsAlone === true ? [{ type: 'Digits', individual_digits: true }] : rule.regex === null ? [] : [split];
  return {
    normalizer: null,
    pre_tokenizer: before.length === 0 ? bytes : { type: 'Sequence', pretokenizers: [...before, bytes] },
    decoder: { ...bytes, add_prefix_space: true, use_regex: true },
    model: {
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rule.ignoreMerges === true,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: namedMerges(metadata, vocabulary),
    },
    addsBos: rule.addsBos === true,
  };
}

function namedMerges(metadata: Metadata, { ids }: Vocabulary): [string, string][] {
  return needed(metadata.texts(`${GGML}merges`), `${GGML}merges`).map((merge) => {
    const gap = merge.indexOf(' ', 1);
    const [left, right] = [merge.slice(0, gap), merge.slice(gap + 1)];
    if (gap < 0 || ![left, right, left + right].every((token) => ids.has(token)))
      throw invalid(`${GGML}merges has ${quoted(merge)}; two tokens that make a third are allowed`);
    return [left, right];
  });
}

function sentencePiece(metadata: Metadata, vocabulary: Vocabulary, unknown: Token | undefined): Kind {
  const space = metadata.flag(`${GGML}add_space_prefix`) ?? true;
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(space ? [{ type: 'Prepend', prepend: SPACE_MARK }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: SPACE_MARK },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE_MARK }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(space ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      unk_token: unknown?.text ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: scoredMerges(metadata, vocabulary),
    },
    addsBos: true,
  };
}

/**
 * SentencePiece joins the two neighbours that make the token with the best score, so each pair of tokens that makes a third is a merge, and
 * merges go by the scores. Between pairs that make the same token the order is that of Hugging Face's own conversions.
 */
function scoredMerges(metadata: Metadata, { tokens, types, ids }: Vocabulary): [string, string][] {
  const scores = needed(metadata.numbers(`${GGML}scores`), `${GGML}scores`);
  if (scores.length !== tokens.length) throw invalid(`the file names ${tokens.length} tokens, and the scores of ${scores.length}`);
  const merges: { left: string; right: string; score: number }[] = [];
  tokens.forEach((token, id) => {
    if (types[id] !== NORMAL) return;
    for (let at = characterAfter(token, 0); at < token.length; at = characterAfter(token, at)) {
      const [left, right] = [token.slice(0, at), token.slice(at)];
      if (ids.has(left) && ids.has(right)) merges.push({ left, right, score: scores[id]! });
    }
  });
  merges.sort((a, b) => b.score - a.score || b.left.length - a.left.length || b.right.length - a.right.length);
  return merges.map(({ left, right }) => [left, right]);
}

const characterAfter = (text: string, at: number): number => at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
