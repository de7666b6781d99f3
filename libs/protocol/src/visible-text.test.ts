import { hiddenCharacter, visibleJson, visibleLines, visibleMessage, visibleText } from './index.js';

const HOSTILE: [string, string][] = [
  ['\u001b[31mred\u001b[0m', '\\u{1b}[31mred\\u{1b}[0m'],
  ['\u001b]0;title\u0007', '\\u{1b}]0;title\\u{7}'],
  ['a\nb\rc\td', 'a\\nb\\rc\\td'],
  ['\u009b2J\u0085\u007f\u0000', '\\u{9b}2J\\u{85}\\u{7f}\\u{0}'],
  ['abc\u202edef\u2066x\u2069', 'abc\\u{202e}def\\u{2066}x\\u{2069}'],
  ['a\u200bb\u200dc\u2060d\ufeff', 'a\\u{200b}b\\u{200d}c\\u{2060}d\\u{feff}'],
  ['a\u2028b\u2029c', 'a\\u{2028}b\\u{2029}c'],
  ['\u3164\u034f\u00ad\u061c', '\\u{3164}\\u{34f}\\u{ad}\\u{61c}'],
  ['\u{e0041}', '\\u{e0041}'],
  ['\ud800x', '\\u{d800}x'],
];

test.each(HOSTILE)('%j is made visible', (text, shown) => {
  expect(visibleText(text)).toBe(shown);
  expect(shown).toContain(hiddenCharacter(text)!);
  expect(JSON.parse(visibleJson(JSON.stringify({ text })))).toEqual({ text });
  expect(visibleText(visibleJson(JSON.stringify(text)))).toBe(visibleJson(JSON.stringify(text)));
});

test.each(['plain', 'Grüße, 日本語, العربية, עברית', '👩‍🔬 ❤️ 🇩🇪 👨‍👩‍👧‍👦 ✋🏽', 'e\u0301'])('%s stays', (text) => {
  expect(visibleText(text)).toBe(text);
  expect(hiddenCharacter(text)).toBeUndefined();
});

test('lines stay lines, messages keep all but their texts', () => {
  expect(visibleLines('one\u001b\ntwo')).toBe('one\\u{1b}\ntwo');
  const message = {
    name: 'a\u202e',
    at: new Date(0),
    chunk: Buffer.from('\u001b'),
    step: 3n,
    oneof: { $case: 'mark', value: '\u0007' },
    none: undefined,
  };
  expect(visibleMessage(message)).toEqual({ ...message, name: 'a\\u{202e}', oneof: { $case: 'mark', value: '\\u{7}' } });
});
