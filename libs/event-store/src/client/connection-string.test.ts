import { connectEventStore } from '../index.js';
import { connectionStringOf } from './connection-string.js';

test.each(['follower', 'random', 'readOnlyReplica'])('a node that is not the leader is not read from: %s', (preference) => {
  for (const key of ['nodePreference', 'NodePreference'])
    expect(() => connectEventStore({ connectionString: `kurrentdb://a:2113,b:2113?tls=false&${key}=${preference}` })).toThrow(
      expect.objectContaining({
        code: 'EVENT_STORE_ADDRESS_INVALID',
        message: expect.stringContaining('only leader is allowed') as string,
      }) as Error,
    );
});

test('the leader may be named, and the login of the options replaces that of the string', () => {
  const connectionString = 'kurrentdb://x:y@a:2113?nodePreference=Leader';
  expect(connectionStringOf({ connectionString, username: 'ann', password: 'p/w' })).toBe(
    'kurrentdb://ann:p%2Fw@a:2113?nodePreference=Leader&discoveryInterval=10',
  );
});
