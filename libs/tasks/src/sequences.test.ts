// Tests how texts become sequences. The encoder makes one token of each character, whose id is the code point; 1 is BOS.
import type { TextEncoder } from '#model-files';
import type { Pair, Question } from './questions.js';
import { encodeQuestions, spaceMoved, windows, type Sequence } from './sequences.js';

const BOS = 1;
/** @param merges pairs of characters that the encoder joins to one token, as a tokenizer would */
const encoder = ({ bos = true, merges = {} }: { bos?: boolean; merges?: Record<string, number> } = {}): Pick<
  TextEncoder,
  'encode' | 'prefixId'
> => ({
  prefixId: BOS,
  encode: async (texts) =>
    texts.map(({ text, hasSpecialTokens }) => {
      const ids: number[] = bos && hasSpecialTokens !== true ? [BOS] : [];
      for (let at = 0; at < text.length; at++) {
        const merged = merges[text.slice(at, at + 2)];
        ids.push(merged ?? text.charCodeAt(at));
        if (merged !== undefined) at += 1;
      }
      return Uint32Array.from(ids);
    }),
});

const question = (...pairs: Pair[]): Question => ({
  index: 0,
  file: 'f',
  line: 1,
  group: '',
  asks: { kind: 'pairs', pairs },
  gold: 0,
  lengths: [],
  words: 0,
  bytes: 0,
});

async function sequence(context: string, continuation: string, positions = 100, with_ = encoder()): Promise<Sequence | null> {
  return (await encodeQuestions([question({ context, continuation })], with_, positions))[0]![0]!;
}

const ids = (text: string): number[] => Array.from(text, (one) => one.charCodeAt(0));

test('a context and what follows it', async () => {
  expect(await sequence('ab', ' c')).toEqual({ ids: Uint32Array.of(BOS, ...ids('ab c')), scored: 2, cut: 0 });
});

test('white space that the context ends in is scored with the continuation', async () => {
  expect(spaceMoved({ context: 'a \n ', continuation: 'b' })).toEqual({ context: 'a', continuation: ' \n b' });
  expect(await sequence('ab ', 'c')).toMatchObject({ scored: 2 });
});

test('the continuation is what the whole has beyond the length of the context, though tokens join across', async () => {
  const joining = encoder({ merges: { 'b ': 900 } });
  // The context is encoded alone. The whole is [BOS a (b_) c], of which only the tokens beyond the context's length count.
  expect(await sequence('ab', ' c', 100, joining)).toEqual({ ids: Uint32Array.of(BOS, ...ids('ab'), ...ids('c')), scored: 1, cut: 0 });
});

test('an empty context becomes BOS', async () => {
  expect(await sequence('', 'ab')).toEqual({ ids: Uint32Array.of(BOS, ...ids('ab')), scored: 2, cut: 0 });
  expect(await sequence('', 'ab', 100, encoder({ bos: false }))).toMatchObject({ scored: 2 });
});

test('what is too long loses its beginning, BOS with it; the model reads all but the last token', async () => {
  expect(await sequence('abcdef', 'gh', 5)).toEqual({ ids: Uint32Array.from(ids('cdefgh')), scored: 2, cut: 3 });
  // A continuation that is longer than all positions keeps its end.
  expect(await sequence('a', 'bcdefgh', 3)).toEqual({ ids: Uint32Array.from(ids('efgh')), scored: 3, cut: 5 });
});

test('windows score each token once; the last, shorter one has as much context as fits', () => {
  const text = Uint32Array.of(10, 11, 12, 13, 14, 15, 16);
  expect(windows(text, BOS, 3)).toEqual([
    { ids: Uint32Array.of(BOS, 10, 11, 12), scored: 3, cut: 0 },
    { ids: Uint32Array.of(12, 13, 14, 15), scored: 3, cut: 0 },
    { ids: Uint32Array.of(13, 14, 15, 16), scored: 1, cut: 0 },
  ]);
  expect(windows(text.subarray(0, 2), BOS, 3)).toEqual([{ ids: Uint32Array.of(BOS, 10, 11), scored: 2, cut: 0 }]);
  expect(windows(new Uint32Array(), BOS, 3)).toEqual([]);
});

test('a text that its tokenizer leads with BOS is scored on it too, once', async () => {
  const whole: Question = { ...question(), asks: { kind: 'whole', text: 'ab' } };
  expect((await encodeQuestions([whole], encoder(), 10))[0]).toEqual([{ ids: Uint32Array.of(BOS, BOS, ...ids('ab')), scored: 3, cut: 0 }]);
});

test('a document of a million tokens is cut into windows, and stands as a context and as what follows one', async () => {
  const text = 'x'.repeat(1_000_000);
  const whole: Question = { ...question(), asks: { kind: 'whole', text } };
  const windowed = (await encodeQuestions([whole], encoder({ bos: false }), 2_000))[0]!;
  expect(windowed.reduce((sum, one) => sum + one!.scored, 0)).toBe(text.length);
  expect(await sequence(text, 'y')).toMatchObject({ scored: 1, cut: text.length + 2 - 101 });
  expect(await sequence('', text, 100, encoder({ bos: false }))).toMatchObject({ scored: 100 });
});
