import { parseArguments, UsageError } from './arguments.js';

test('reads a full command line', () => {
  expect(
    parseArguments(['--listen', 'unix:/tmp/e.sock', '--device', 'cpu', '--threads', '3', '--scratch', '/tmp/s', '--exit-with-stdin']),
  ).toEqual({
    listen: 'unix:/tmp/e.sock',
    device: 'cpu',
    threads: 3,
    scratch: '/tmp/s',
    exitWithStdin: true,
  });
  expect(parseArguments(['--listen', '[::1]:0'])).toEqual({
    listen: '[::1]:0',
    device: 'auto',
    threads: 0,
    scratch: undefined,
    exitWithStdin: false,
  });
  expect(parseArguments(['--listen', '0.0.0.0:50051', '--allow-insecure-remote']).listen).toBe('0.0.0.0:50051');
});

test.each([
  [[], '--listen is required'],
  [['--listen', 'nonsense'], 'HOST:PORT'],
  [['--listen', 'localhost:99999'], 'HOST:PORT'],
  [['--listen', 'unix:relative.sock'], 'absolute'],
  [['--listen', `unix:/${'x'.repeat(107)}`], '107 bytes'],
  [['--listen', '0.0.0.0:0'], '--allow-insecure-remote'],
  [['--listen', '10.1.2.3:50051'], 'no login'],
  [['--listen', '127.0.0.1:0', '--threads', '-1'], '--threads'],
  [['--listen', '127.0.0.1:0', '--threads=x'], '--threads must be'],
  [['--what'], '--what'],
  [['extra'], 'extra'],
])('%j is refused', (args, message) => {
  expect(() => parseArguments(args)).toThrow(message);
  expect(() => parseArguments(args)).toThrow(expect.objectContaining({ exitCode: 2 }) as UsageError);
});

test('--help is no mistake', () => {
  expect(() => parseArguments(['--help'])).toThrow(expect.objectContaining({ exitCode: 0 }) as UsageError);
});
