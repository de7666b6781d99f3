import { inOrderOfTime, readLogLine, withoutSecrets } from './log-lines.js';

test("an engine's line in a line of the orchestrator is its own; plain words stay behind the line before them", () => {
  const inner = JSON.stringify({ level: 40, time: 5, msg: 'slow', code: 'SLOW' });
  const lines = [
    readLogLine(JSON.stringify({ level: 30, time: 7, msg: 'engine', engine: inner }), 'orchestrator'),
    readLogLine(JSON.stringify({ level: 50, time: 2, msg: 'gone', err: { message: 'why' } }), 'orchestrator'),
    readLogLine('    at a place', 'orchestrator'),
  ];
  expect(inOrderOfTime(lines).map(({ source, level, text }) => [source, level, text])).toEqual([
    ['orchestrator', 50, 'gone: why'],
    ['orchestrator', 30, '    at a place'],
    ['engine', 40, 'slow (SLOW)'],
  ]);
});

test.each(['"soon"', '1e300', '-1', 'null'])('a line whose time is none (%s) is read as one without a time', (time) => {
  expect(readLogLine(`{"level":30,"time":${time},"msg":"words"}`, 'orchestrator')).toMatchObject({ time: undefined, text: 'words' });
});

test('a secret that got into a line is not shown', () => {
  const secret = 'A'.repeat(43);
  const line = `authorization: Bearer abc.def-1abc.def-1, espalier_4f2a_${secret}, http://h/login?key=12.ab&to=/ and own-token`;
  expect(withoutSecrets(line, ['own-token', ''])).toBe(
    'authorization: Bearer [secret], [secret], http://h/login?key=[secret]&to=/ and [secret]',
  );
  for (const plain of ['the run espalier_test began', 'a call needs "authorization: Bearer TOKEN"'])
    expect(withoutSecrets(plain)).toBe(plain);
});
