// Turns questions into token sequences by the rules that published figures follow.
import type { TextEncoder } from '#model-files';
import { trailingSpace } from './python-text.js';
import type { Pair, Question } from './questions.js';

/** A sequence of tokens. The last `scored` tokens are asked about; all tokens but the last are the model's input. */
export interface Sequence {
  ids: Uint32Array;
  scored: number;
  /** The number of tokens of the context for which there was no room. */
  cut: number;
}

/** One sequence for each pair or window of a question; null: nothing of it is scored. */
export type EncodedQuestion = (Sequence | null)[];

type Encoder = Pick<TextEncoder, 'encode' | 'prefixId'>;

/** @param positions the length of the longest input that the model takes */
export async function encodeQuestions(questions: readonly Question[], encoder: Encoder, positions: number): Promise<EncodedQuestion[]> {
  const texts: { text: string; file: string; line: number; hasSpecialTokens?: true }[] = [];
  const places = new Map<string, number>();
  const place = (text: string, { file, line }: Question, plain = false): number => {
    const key = `${plain ? 'p' : 's'}${text}`;
    const known = places.get(key);
    if (known !== undefined) return known;
    places.set(key, texts.length);
    texts.push({ text, file, line, ...(plain ? { hasSpecialTokens: true as const } : {}) });
    return texts.length - 1;
  };
  const planned = questions.map((question) => {
    const { asks } = question;
    if (asks.kind === 'whole') return { whole: place(asks.text, question) };
    if (asks.kind === 'text') throw new Error('a text that a model writes is not a sequence');
    return {
      pairs: asks.pairs.map(spaceMoved).map(({ context, continuation }) => ({
        context: context === '' ? null : place(context, question),
        // After an empty context the continuation is encoded alone, without special tokens.
        all: place(context + continuation, question, context === ''),
      })),
    };
  });
  const ids = await encoder.encode(texts);
  return planned.map(({ whole, pairs }) => {
    if (whole !== undefined) return windows(ids[whole]!, encoder.prefixId, positions);
    return pairs.map(({ context, all }) => joined(context === null ? null : ids[context]!, ids[all]!, encoder, positions));
  });
}

/** Moves white space at the end of the context to the continuation, so that it is encoded as in running text. */
export function spaceMoved({ context, continuation }: Pair): Pair {
  const cut = context.length - trailingSpace(context);
  return { context: context.slice(0, cut), continuation: context.slice(cut) + continuation };
}

/** @param context the tokens of the context; null: it is empty */
function joined(context: Uint32Array | null, all: Uint32Array, encoder: Encoder, positions: number): Sequence | null {
  const before = context ?? new Uint32Array();
  const after = all.subarray(before.length);
  if (after.length === 0) return null;
  if (before.length > 0) return cutTo(together(before, after), after.length, positions);
  const prefix = encoder.prefixId;
  // The prefix stands in place of the context, unless the continuation begins with it already.
  if (prefix === null || after[0] === prefix) return after.length < 2 ? null : cutTo(after, after.length - 1, positions);
  return cutTo(together([prefix], after), after.length, positions);
}

/** Joins two lists of tokens. A spread would put each token on the stack, where a long document does not fit. */
function together(before: ArrayLike<number>, after: Uint32Array): Uint32Array {
  const all = new Uint32Array(before.length + after.length);
  all.set(before);
  all.set(after, before.length);
  return all;
}

/** Keeps the last tokens that fit. */
function cutTo(ids: Uint32Array, scored: number, positions: number): Sequence {
  const kept = ids.length > positions + 1 ? ids.subarray(ids.length - positions - 1) : ids;
  return { ids: kept, scored: Math.min(scored, kept.length - 1), cut: ids.length - kept.length };
}

/** Splits a text into windows. Each token is scored in one window; the last window has as much context as fits. */
export function windows(ids: Uint32Array, prefix: number | null, positions: number): Sequence[] {
  const whole = prefix === null ? ids : together([prefix], ids);
  const made: Sequence[] = [];
  for (let done = 1; done < whole.length;) {
    const end = Math.min(done + positions, whole.length);
    const begin = Math.max(end - positions - 1, 0);
    made.push({ ids: whole.subarray(begin, end), scored: end - done, cut: 0 });
    done = end;
  }
  return made;
}
