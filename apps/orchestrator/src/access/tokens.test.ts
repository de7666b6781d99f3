import type { CallContext } from '../event-sourcing/call-context.js';
import { encodeFacts } from '../event-sourcing/event-codec.js';
import { tokenEventTypes, type NewTokenFact, type TokenRole } from './token.events.js';
import { hasDigest, newToken, tokenIdIn } from './token-text.js';
import { decide, evolve, isValid, tokenOf, type TokenChange, type TokensState } from './tokens.js';

const at = '2026-01-01T00:00:00.000Z';
const nextDay = '2026-01-02T00:00:00.000Z';
const by: CallContext = { actor: 'ann', roles: ['owner'] };
const create = (part: Partial<Extract<TokenChange, { kind: 'create' }>> = {}): TokenChange => ({
  kind: 'create',
  tokenId: 'aaaaaaaaaaaa',
  digest: 'd1',
  name: 'ci',
  role: 'operator',
  days: 1,
  ...part,
});

function after(state: TokensState | null, change: TokenChange, when = at): TokensState | null {
  const facts = decide(state, change, when).map((fact) => ({ ...fact, context: by }));
  const { events } = encodeFacts<NewTokenFact>(tokenEventTypes, facts, state?.chain ?? '', (index) => `${index}`);
  return events.reduce<TokensState | null>((before, event) => evolve(before, event), state);
}
const refused = (code: string, field: string) => expect.objectContaining({ code, field });

describe('tokens', () => {
  it('are valid from when they are made until they expire, and not at that time', () => {
    const token = tokenOf(after(null, create())!, 'ci', Date.parse(at));
    expect(token).toMatchObject({ name: 'ci', role: 'operator', createdBy: 'ann', createdAt: at, expiresAt: nextDay, revokedAt: null });
    expect([isValid(token, Date.parse(nextDay) - 1), isValid(token, Date.parse(nextDay))]).toEqual([true, false]);
  });

  it('are revoked once, by name or id, and never come back', () => {
    const revoked = after(after(null, create()), { kind: 'revoke', token: 'ci' });
    const token = tokenOf(revoked!, 'aaaaaaaaaaaa', Date.parse(at));
    expect([token.revokedAt, isValid(token, Date.parse(at))]).toEqual([at, false]);
    expect(decide(revoked, { kind: 'revoke', token: 'aaaaaaaaaaaa' }, nextDay)).toEqual([]);
    expect(() => decide(revoked, { kind: 'revoke', token: 'ci' }, at)).toThrow(refused('TOKEN_NOT_FOUND', 'token'));
    expect(() => decide(null, { kind: 'revoke', token: 'ci' }, at)).toThrow(refused('TOKEN_NOT_FOUND', 'token'));
  });

  it('have names that no other valid token has', () => {
    const one = after(null, create());
    const other = create({ tokenId: 'bbbbbbbbbbbb' });
    expect(() => decide(one, other, at)).toThrow(refused('TOKEN_NAME_TAKEN', 'name'));
    expect(decide(one, other, nextDay)).toHaveLength(1); // the first token has expired
    expect(decide(after(one, { kind: 'revoke', token: 'ci' }), other, at)).toHaveLength(1);
  });

  it.each<[string, string, Partial<Extract<TokenChange, { kind: 'create' }>>]>([
    ['FIELD_OUT_OF_RANGE', 'name', { name: '' }],
    ['FIELD_OUT_OF_RANGE', 'name', { name: 'a:b' }],
    ['FIELD_OUT_OF_RANGE', 'name', { name: 'two words' }],
    ['FIELD_OUT_OF_RANGE', 'name', { name: 'x'.repeat(65) }],
    ['FIELD_REQUIRED', 'role', { role: undefined }],
    ['FIELD_OUT_OF_RANGE', 'days', { days: 0 }],
    ['FIELD_OUT_OF_RANGE', 'days', { days: 3_651 }],
  ])('refuse with %s a wrong %s', (code, field, part) => {
    expect(() => decide(null, create(part), at)).toThrow(refused(code, field));
  });

  it('are stored as digests, and a digest is of one token only', () => {
    const { tokenId, secret, digest } = newToken();
    expect(tokenIdIn(secret)).toBe(tokenId);
    expect([hasDigest(secret, digest), hasDigest(newToken().secret, digest), hasDigest(digest, digest)]).toEqual([true, false, false]);
    const facts = decide(null, create({ tokenId, digest, role: 'viewer' satisfies TokenRole }), at);
    expect(JSON.stringify(facts)).not.toContain(secret.slice(-43));
    expect(['', 'espalier', secret.slice(0, -1), ` ${secret}`, `${secret}x`].map((text) => tokenIdIn(text))).toEqual(
      Array(5).fill(undefined),
    );
  });
});
