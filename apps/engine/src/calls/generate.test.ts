// Tests the text that a client gets while tokens arrive: it holds no part of a stop text, and other text is not held back.
import { v1 } from '#protocol';
import { Text } from './generate.js';

const { TEXT_END_LENGTH, TEXT_END_MODEL, TEXT_END_STOP, TEXT_END_UNSPECIFIED } = v1.TextEnd;

/** Writes a text from tokens that are each a word. */
function written(words: string[], stops: string[], finish: 'end' | 'length' = 'length') {
  const text = new Text({ push: (id) => words[id]!, end: () => '' }, stops);
  const stopped: number[] = [];
  const pieces = words.flatMap((_, id) =>
    text.push({ prompt: 3, id, finish: id === words.length - 1 ? finish : '' }, (prompt) => stopped.push(prompt)),
  );
  return { pieces: pieces.map((piece) => piece.text), end: pieces.at(-1)?.end, tokens: pieces.at(-1)?.tokens, stopped };
}

test('a text is told word by word', () => {
  expect(written(['one', ' two', ' three'], [])).toEqual({
    pieces: ['one', ' two', ' three'],
    end: TEXT_END_LENGTH,
    tokens: 3,
    stopped: [],
  });
});

test('the token with which a model ends its text is not part of it', () => {
  expect(written(['one', '</s>'], [], 'end')).toEqual({ pieces: ['one', ''], end: TEXT_END_MODEL, tokens: 1, stopped: [] });
});

test('a text ends before the first of its stop texts, wherever tokens cut it', () => {
  expect(written(['So it is', '.\n', '\nQ', ': more'], ['Q:', '\n\n'])).toEqual({
    pieces: ['So it is', '.', ''],
    end: TEXT_END_STOP,
    tokens: 3,
    stopped: [3],
  });
  expect(written(['aXYb', 'later'], ['Yb', 'XY'])).toEqual({ pieces: ['a'], end: TEXT_END_STOP, tokens: 1, stopped: [3] });
});

test('what only began like a stop text is told as soon as it is none', () => {
  expect(written(['a', 'b', 'c', 'd'], ['bcx'])).toMatchObject({ pieces: ['a', 'bcd'], end: TEXT_END_LENGTH });
});

test('what began like a stop text when a text ends belongs to it', () => {
  expect(written(['a', 'b', 'c'], ['bcx'])).toMatchObject({ pieces: ['a', 'bc'], end: TEXT_END_LENGTH });
});

test('tokens that were made before a text was stopped are dropped', () => {
  const { pieces, end } = written(['stop here', ' and', ' more'], [' here']);
  expect(pieces).toEqual(['stop']);
  expect(end).not.toBe(TEXT_END_UNSPECIFIED);
});
