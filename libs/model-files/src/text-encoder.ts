// Texts to token ids as transformers encodes them by default: with the special tokens of the tokenizer's own post-processor.
import { EncoderPool } from './encoder-pool.js';
import { readTokenizerFiles, tokenContent, type TokenizerFiles } from './load-tokenizer.js';
import { ModelFilesError } from './model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

export interface TextEncoder {
  /** SHA-256 of tokenizer.json. */
  readonly tokenizerDigest: string;
  /** BOS, or EOS where there is none: what an empty context becomes. null: the tokenizer has neither. */
  readonly prefixId: number | null;
  /** @returns the ids of each text */
  encode(texts: readonly SourceDocument[]): Promise<Uint32Array[]>;
  close(): Promise<void>;
}

const DOCUMENT_TIME_LIMIT_MS = 10_000;

export async function openTextEncoder(modelPath: string, vocabularySize: number, signal?: AbortSignal): Promise<TextEncoder> {
  const files = await readTokenizerFiles(modelPath, signal);
  const special = specialTokens(files);
  const pool = new EncoderPool({ ...files, vocabularySize, documentTimeLimitMs: DOCUMENT_TIME_LIMIT_MS });
  const { rewritten } = special;
  return {
    tokenizerDigest: files.tokenizerDigest,
    prefixId: special.bos?.id ?? special.eos?.id ?? null,
    async encode(texts) {
      const begins = texts.map(
        ({ text, hasSpecialTokens }) => hasSpecialTokens === true || (special.bos !== null && text.startsWith(special.bos.content)),
      );
      const { ids, lengths } = await pool.encode(
        texts.map((text, index) => (begins[index]! || rewritten !== null ? { ...text, hasSpecialTokens: true } : text)),
      );
      let first = 0;
      return Array.from(lengths, (length, index) => {
        const own = ids.subarray(first, first + length);
        first += length;
        return begins[index]! || rewritten === null ? own : Uint32Array.of(...rewritten.before, ...own, ...rewritten.after);
      });
    },
    close: () => pool.close(),
  };
}

interface SpecialTokens {
  bos: SpecialToken | null;
  eos: SpecialToken | null;
  /** Tokenizers of LLaMA's class put these around a text, whatever tokenizer.json says; null: the post-processor decides. */
  rewritten: { before: number[]; after: number[] } | null;
}
interface SpecialToken {
  content: string;
  id: number;
}

const REWRITING_CLASS = /^(Code)?LlamaTokenizer(Fast)?$/;

function specialTokens({ tokenizerJson, configJson }: TokenizerFiles): SpecialTokens {
  const config = parsed(configJson, 'tokenizer_config.json') as Record<string, unknown>;
  const description = parsed(tokenizerJson, 'tokenizer.json') as {
    model?: { vocab?: unknown };
    added_tokens?: { content?: unknown; id?: unknown }[];
  };
  const token = (value: unknown): SpecialToken | null => {
    const content = tokenContent(value);
    if (content === undefined) return null;
    const vocabulary = description.model?.vocab;
    const known = (description.added_tokens ?? []).find((one) => one.content === content)?.id;
    const id =
      known ?? (typeof vocabulary === 'object' && vocabulary !== null ? (vocabulary as Record<string, unknown>)[content] : undefined);
    return typeof id === 'number' ? { content, id } : null;
  };
  const bos = token(config['bos_token']);
  const eos = token(config['eos_token']);
  const rewrites = typeof config['tokenizer_class'] === 'string' && REWRITING_CLASS.test(config['tokenizer_class']);
  const added = (wanted: unknown, otherwise: boolean, one: SpecialToken | null): number[] =>
    (typeof wanted === 'boolean' ? wanted : otherwise) && one !== null ? [one.id] : [];
  return {
    bos,
    eos,
    rewritten: rewrites ? { before: added(config['add_bos_token'], true, bos), after: added(config['add_eos_token'], false, eos) } : null,
  };
}

function parsed(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelFilesError('TOKENIZER_INVALID', `${name} can't be used: ${(error as Error).message}`, { field: 'model_path' });
  }
}
