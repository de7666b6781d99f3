import { parseConfig } from './config.js';

const parsed = (...args: string[]) => parseConfig(['node', 'orchestrator', ...args]);
const TLS = ['--tls-cert', '/a/cert.pem', '--tls-key', '/a/key.pem'];

describe('an address beyond this machine', () => {
  it.each([['--listen'], ['--web']])(
    'is refused at %s, unless the server speaks TLS or the user says that something else encrypts',
    (option) => {
      expect(() => parsed(option, '0.0.0.0:7433')).toThrow(expect.objectContaining({ code: 'ADDRESS_INSECURE', field: option }) as Error);
      expect(parsed(option, '0.0.0.0:7433', ...TLS).tls).toMatchObject({ certFile: '/a/cert.pem', keyFile: '/a/key.pem' });
      expect(parsed(option, '0.0.0.0:7433', '--allow-insecure-remote').tls).toBeUndefined();
      expect(() => parsed(option, '0.0.0.0:7433', ...TLS, '--open-loopback')).toThrow(/ everybody there could do everything/);
    },
  );

  it('is refused for an engine, which speaks no TLS', () => {
    expect(() => parsed('--engine', '10.0.0.1:7500', ...TLS)).toThrow(expect.objectContaining({ code: 'ADDRESS_INSECURE' }) as Error);
  });
});

it.each([
  ['--tls-key', ['--tls-cert', 'a']],
  ['--tls-cert', ['--tls-key', 'a']],
  ['--tls-cert', ['--tls-client-ca', 'a']],
])('%s is needed beside %j', (field, args) => {
  expect(() => parsed(...args)).toThrow(expect.objectContaining({ code: 'FIELD_REQUIRED', field }) as Error);
});
