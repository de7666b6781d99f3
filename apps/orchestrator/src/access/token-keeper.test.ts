// Tests two orchestrators of one event store, each with its keeper of tokens. Open calls must end when their token does.
import { WrongExpectedRevisionError, type EventStore, type NewEvent, type StoredEvent, type SubscriptionItem } from '#event-store';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { TokenKeeper } from './token-keeper.js';

const DAY_MS = 86_400_000;
const log = { error: () => undefined };

/** An event store with one stream in memory, which tells its subscribers of each append. */
function memoryStore(): EventStore {
  const held: StoredEvent[] = [];
  let wake: () => void = () => undefined;
  let appended = new Promise<void>((resolve) => (wake = resolve));
  const store = {
    async *read(_stream: string, { from = 'start' }: { from?: bigint | 'start' } = {}) {
      yield* held.slice(from === 'start' ? 0 : Number(from));
    },
    append: (stream: string, events: NewEvent[], expected: 'no_stream' | bigint) => {
      const next = expected === 'no_stream' ? 0 : Number(expected) + 1;
      if (next !== held.length) return Promise.reject(new WrongExpectedRevisionError(stream, expected, BigInt(held.length - 1)));
      for (const event of events) held.push({ ...event, stream, revision: BigInt(held.length), position: {} } as unknown as StoredEvent);
      wake();
      appended = new Promise((resolve) => (wake = resolve));
      return Promise.resolve({ revision: BigInt(held.length - 1) });
    },
    subscribe: () => {
      let isOpen = true;
      let at = held.length;
      return {
        close: async () => void (isOpen = false),
        async *[Symbol.asyncIterator](): AsyncGenerator<Partial<SubscriptionItem>> {
          yield { kind: 'caughtUp' };
          while (isOpen) {
            if (at >= held.length) await appended;
            for (; at < held.length; at += 1) yield { kind: 'event' };
          }
        },
      };
    },
  };
  return store as unknown as EventStore;
}

async function keepers(): Promise<[TokenKeeper, TokenKeeper]> {
  const store = memoryStore();
  const both = [new TokenKeeper(store, { missing: null }, log), new TokenKeeper(store, { missing: null }, log)] as const;
  for (const keeper of both) await keeper.start();
  return [...both];
}

const create = (keeper: TokenKeeper) => keeper.create({ name: 'ci', role: 'viewer', days: 1 }, BY_SERVER);
const codeOf = (signal: AbortSignal): string => (signal.reason as { code: string }).code;

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

it('an open call ends when its token expires, also where the clock was set', async () => {
  const [keeper] = await keepers();
  const { token, secret } = await create(keeper);
  const end = keeper.endOf(keeper.shown(secret).tokenId);
  await jest.advanceTimersByTimeAsync(10_000);
  expect(end.aborted).toBe(false);
  jest.setSystemTime(Date.parse(token.expiresAt));
  await jest.advanceTimersByTimeAsync(1_000);
  expect([end.aborted, codeOf(end)]).toEqual([true, 'TOKEN_EXPIRED']);
  expect(() => keeper.shown(secret)).toThrow(expect.objectContaining({ code: 'TOKEN_EXPIRED' }) as Error);
  expect(Date.parse(token.expiresAt) - Date.parse(token.createdAt)).toBe(DAY_MS);
});

it('a token of one orchestrator is one of the other, and ends on both when either takes it back', async () => {
  const [one, other] = await keepers();
  const { token, secret } = await create(one);
  await jest.advanceTimersByTimeAsync(0);
  expect(other.shown(secret).tokenId).toBe(token.tokenId);
  const ends = [one, other].map((keeper) => keeper.endOf(token.tokenId));
  await other.revoke('ci', BY_SERVER);
  await jest.advanceTimersByTimeAsync(0);
  expect(ends.map((end) => [end.aborted, codeOf(end)])).toEqual([
    [true, 'TOKEN_REVOKED'],
    [true, 'TOKEN_REVOKED'],
  ]);
  const isRevoked = expect.objectContaining({ code: 'TOKEN_REVOKED' }) as Error;
  for (const keeper of [one, other]) expect(() => keeper.shown(secret)).toThrow(isRevoked);
});
