// Turns texts into token ids on several threads, with the special tokens of `special-tokens.ts`.
import { EncoderPool } from './encoder-pool.js';
import { readTokenizerFiles } from '../load-tokenizer.js';
import type { SourceDocument } from '../rows/read-bytes.js';
import { SpecialTokens } from './special-tokens.js';

export interface TextEncoder {
  /** The SHA-256 of tokenizer.json. */
  readonly tokenizerDigest: string;
  /** The token that stands for an empty context: BOS, or else EOS; null: the tokenizer has neither. */
  readonly prefixId: number | null;
  /** @returns the ids of each text; a text with `hasSpecialTokens` gets no special tokens */
  encode(texts: readonly SourceDocument[]): Promise<Uint32Array[]>;
  close(): Promise<void>;
}

const DOCUMENT_TIME_LIMIT_MS = 10_000;

export async function openTextEncoder(modelPath: string, vocabularySize: number, signal?: AbortSignal): Promise<TextEncoder> {
  const files = await readTokenizerFiles(modelPath, signal);
  const special = SpecialTokens.of(files);
  const pool = new EncoderPool({ ...files, vocabularySize, isContinuous: false, documentTimeLimitMs: DOCUMENT_TIME_LIMIT_MS });
  return {
    tokenizerDigest: files.tokenizerDigest,
    prefixId: special.bos?.id ?? special.eos?.id ?? null,
    async encode(texts) {
      const plain = texts.map((one) => (special.leavesToPostProcessor(one.text) ? one : { ...one, hasSpecialTokens: true as const }));
      const { ids, lengths } = await pool.encode(plain);
      let first = 0;
      return texts.map(({ text, hasSpecialTokens }, index) => {
        const own = ids.subarray(first, first + lengths[index]!);
        first += lengths[index]!;
        return hasSpecialTokens === true ? own : Uint32Array.from(special.around(text, own));
      });
    },
    close: () => pool.close(),
  };
}
