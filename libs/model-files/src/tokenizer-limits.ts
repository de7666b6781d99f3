// Limits of the tokens that a tokenizer makes of a text. tokenizer.json comes from anywhere. One that replaces a letter by a thousand
// others makes hundreds of megabytes of tokens from a small file, and would hold up an engine.
import { ModelFilesError } from './model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

/** The largest that Unicode's own normal forms make of a character is 18 others. */
const CHARACTERS_PER_CHARACTER = 32;
/** Byte-level tokenizers and byte fallback make one at most; a normal form makes up to 11 bytes of one. */
const TOKENS_PER_BYTE = 16;
/** The shortest text may have as many: special tokens, a word in front. */
const FREE = 1_024;

interface Normalizer {
  normalize(text: string): string;
  /** A sequence has these. */
  normalizers?: (Normalizer | null)[];
}

/** Each step of a normalizer is held to the limit, since steps that double a text need few of them to fill the memory. */
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

/** Encodes a document. @throws ModelFilesError TOKENIZER_EXPANDS where the tokenizer makes too much of it */
export function withinTokenLimit<Encoded extends { ids: ArrayLike<unknown> }>(
  { text, file, line }: Pick<SourceDocument, 'text' | 'file' | 'line'>,
  encode: () => Encoded,
): Encoded {
  const refuse = (what: string): never => {
    throw new ModelFilesError(
      'TOKENIZER_EXPANDS',
      `the tokenizer ${what} in ${file}, line ${line}; allowed are ${TOKENS_PER_BYTE} tokens and ${CHARACTERS_PER_CHARACTER} characters ` +
        `for one, and ${FREE} more: its normalizer or post-processor in tokenizer.json is no usual one`,
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
