// Limits the number of tokens that a tokenizer makes of a text. A tokenizer.json comes from anywhere: one that replaces a letter by a
// thousand others makes hundreds of megabytes of tokens from a small file, and would block an engine.
import { ModelFilesError } from './model-files.errors.js';
import type { SourceDocument } from './rows/read-bytes.js';

/** The most characters that a normalizer may make of one. Unicode's own normal forms make up to 18. */
const CHARACTERS_PER_CHARACTER = 32;
/**
 * The most tokens for each byte. Byte-level tokenizers and byte fallback make one token of a byte, and a normal form makes up to 11 bytes
 * of one.
 */
const TOKENS_PER_BYTE = 16;
/** The tokens that any text may have, however short: special tokens, a word in front. */
const FREE = 1_024;

interface Normalizer {
  normalize(text: string): string;
  /** The steps of a sequence of normalizers; undefined for a single normalizer. */
  normalizers?: (Normalizer | null)[];
}

/** Limits each step of a normalizer, because a few steps that each double a text can fill the memory. */
export function limitGrowth(normalizer: unknown): void {
  if (typeof normalizer !== 'function' || !('normalize' in normalizer)) return;
  const whole = normalizer as unknown as Normalizer;
  let most = 0;
  const check = (step: Normalizer): void => {
    step.normalizers?.forEach((one) => one !== null && check(one));
    const normalize = step.normalize.bind(step);
    step.normalize = (text) => {
      const made = normalize(text);
      if (made.length > most) throw new TextGrowth(`makes ${made.length} characters or more of ${mostBefore(most)}`);
      return made;
    };
  };
  check(whole);
  const checked = whole.normalize.bind(whole);
  whole.normalize = (text) => {
    most = CHARACTERS_PER_CHARACTER * text.length + FREE;
    return checked(text);
  };
}

const mostBefore = (most: number): number => (most - FREE) / CHARACTERS_PER_CHARACTER;

class TextGrowth extends Error {}

/** Encodes a document. @throws ModelFilesError TOKENIZER_EXPANDS if the tokenizer makes too many tokens of it */
export function withinTokenLimit<Encoded extends { ids: ArrayLike<unknown> }>(
  { text, file, line }: Pick<SourceDocument, 'text' | 'file' | 'line'>,
  encode: () => Encoded,
): Encoded {
  const refuse = (what: string): never => {
    throw new ModelFilesError(
      'TOKENIZER_EXPANDS',
      `the tokenizer ${what} in ${file}, line ${line}; allowed are ${TOKENS_PER_BYTE} tokens and ${CHARACTERS_PER_CHARACTER} characters ` +
        `for one, and ${FREE} more: its normalizer or post-processor in tokenizer.json is not a usual one`,
      { field: 'model_path', file, line },
    );
  };
  let encoded: Encoded;
  try {
    encoded = encode();
  } catch (error) {
    if (error instanceof TextGrowth) return refuse(error.message);
    throw error;
  }
  const bytes = Buffer.byteLength(text);
  if (encoded.ids.length > TOKENS_PER_BYTE * bytes + FREE) refuse(`makes ${encoded.ids.length} tokens of ${bytes} bytes`);
  return encoded;
}
