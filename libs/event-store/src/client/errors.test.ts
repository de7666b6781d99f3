import { UnavailableError, UnknownError } from '@kurrent/kurrentdb-client';
import { EventStoreUnavailableError } from '../event-store.errors.js';
import { translateError } from './errors.js';

type Raw = ConstructorParameters<typeof UnknownError>[0];
const raw = (message: string) => new Error(message) as unknown as Raw;

test.each([
  ['a write into a closed connection', new UnknownError(raw('2 UNKNOWN: write EPIPE')), /not available: the connection to it broke$/],
  ['the same below the client', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }), /not available: the connection to it broke$/],
  [
    'a refused connection',
    new UnavailableError(raw('14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:2113')),
    /not available: no program listens at its address$/,
  ],
  ['a refusal of TLS', new UnavailableError(raw('14 UNAVAILABLE: certificate has expired')), /not available: certificate has expired$/],
  ['an append that ended without a word', new UnknownError(), /it does not answer, or the connection to it broke$/],
  ['a read that broke', new UnknownError(raw('UnknownError')), /it does not answer, or the connection to it broke$/],
  ['a read that found nobody', new UnavailableError(raw('UnavailableError')), /it does not answer, or the connection to it broke$/],
])('%s says that the store is not available', (_what, error, message) => {
  const named = translateError(error);
  expect(named).toBeInstanceOf(EventStoreUnavailableError);
  expect(named).toMatchObject({ code: 'EVENT_STORE_UNAVAILABLE', message: expect.stringMatching(message) as string });
});

test("the store's own code is kept, in whatever class the client wraps it", () => {
  expect(translateError(new UnknownError(raw('STORE_READ_ONLY: the disk is read-only')))).toMatchObject({
    code: 'STORE_READ_ONLY',
    message: 'the disk is read-only',
  });
});
