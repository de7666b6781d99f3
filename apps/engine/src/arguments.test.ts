import { parseArguments, UsageError } from './arguments.js';

test('reads a full command line', () => {
  expect(
    parseArguments(['--listen', 'unix:/tmp/e.sock', '--device', 'cpu', '--threads', '3', '--scratch', '/tmp/s', '--exit-with-stdin']),
  ).toEqual({
    at: { listen: 'unix:/tmp/e.sock' },
    device: 'cpu',
    threads: 3,
    scratch: '/tmp/s',
    sliceBytes: 2 ** 28,
    exitWithStdin: true,
  });
  expect(parseArguments(['--listen', '[::1]:0'])).toEqual({
    at: { listen: '[::1]:0' },
    device: 'auto',
    threads: 0,
    scratch: undefined,
    sliceBytes: 2 ** 28,
    exitWithStdin: false,
  });
  expect(parseArguments(['--listen', '0.0.0.0:50051', '--allow-insecure-remote']).at).toEqual({ listen: '0.0.0.0:50051' });
});

test('two cards of a machine give their engines different names', () => {
  const nameOf = (device: string): string => {
    const { at } = parseArguments(['--join', '127.0.0.1:7433', '--token-file', 't', '--device', device]);
    return 'join' in at ? at.join.name : '';
  };
  expect(nameOf('cuda:1')).toBe(`${nameOf('cpu')}-cuda-1`);
  expect(nameOf('cuda:0')).not.toBe(nameOf('cuda:1'));
});

test('reads where to dial in', () => {
  const { at } = parseArguments(['--join', 'https://lab.example.org:7433', '--token-file', 't', '--tls-ca', 'a.pem', '--name', 'node7']);
  const usual = { modelCacheBytes: 200 * 1024 ** 3 };
  expect(at).toEqual({ join: { address: 'lab.example.org:7433', tls: true, tokenFile: 't', tlsCa: 'a.pem', name: 'node7', ...usual } });
  const cache = ['--join', '127.0.0.1:7433', '--token-file', 't', '--model-cache', '/models', '--model-cache-limit', '500GB'];
  expect(parseArguments(cache).at).toMatchObject({ join: { modelCache: '/models', modelCacheBytes: 5e11 } });
  const idle = ['--join', '127.0.0.1:7433', '--token-file', 't', '--idle-timeout', '60'];
  expect(parseArguments(idle).at).toMatchObject({ join: { idleTimeout: 60 } });
  const joining = (address: string) => parseArguments(['--join', address, '--token-file', 't']).at;
  expect(joining('[::1]:7433')).toMatchObject({ join: { address: '[::1]:7433', tls: false } });
  expect(joining('http://10.1.2.3:7433/')).toMatchObject({ join: { address: '10.1.2.3:7433', tls: false } });
});

test.each([
  [['--join', '10.1.2.3:7433', '--token-file', 't'], 'with TLS: write https://'],
  [['--join', 'https://lab', '--token-file', 't'], 'https://HOST:PORT'],
  [['--join', 'unix:/tmp/s', '--token-file', 't'], 'https://HOST:PORT'],
  [['--join', 'https://lab:7433'], '--token-file: is needed'],
  [['--join', 'https://lab:7433', '--token-file', 't', '--listen', '127.0.0.1:0'], '--listen'],
  [['--join', '127.0.0.1:7433', '--token-file', 't', '--tls-ca', 'a.pem'], '--tls-ca: goes with https://'],
  [['--join', 'https://lab:7433', '--token-file', 't', '--model-cache-limit', 'much'], '--model-cache-limit much: a number of bytes'],
  [['--listen', '127.0.0.1:0', '--model-cache', 'm'], '--model-cache goes with --join'],
  [['--listen', '127.0.0.1:0', '--token-file', 't'], '--token-file goes with --join'],
  [['--join', '127.0.0.1:7433', '--token-file', 't', '--idle-timeout', '0'], 'a whole number of seconds from 1 to 86400'],
  [['--listen', '127.0.0.1:0', '--idle-timeout', '9'], '--idle-timeout goes with --join'],
  [['--join', '127.0.0.1:7433', '--token-file', 't', '--name', ''], '--name is empty: leave it out, or give it a value'],
  [[], '--listen or --join is required'],
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

test('--help is not a mistake', () => {
  expect(() => parseArguments(['--help'])).toThrow(expect.objectContaining({ exitCode: 0 }) as UsageError);
});
