import { LoginKeys, loginLink } from './login-link.js';

const PAGE = 'http://127.0.0.1:7434';
const keyOf = (link: string): string => new URL(link).searchParams.get('key') ?? '';

describe('the link that lets a browser in', () => {
  test('it opens the page once, and never without the token that it was written with', () => {
    const keys = new LoginKeys('right');
    const key = keyOf(loginLink(PAGE, 'right'));
    expect([keys.accept(key), keys.accept(key)]).toEqual([true, false]);
    expect(keys.accept(keyOf(loginLink(PAGE, 'wrong')))).toBe(false);
    expect(['', '.', '..', 'a.b.c'].map((one) => keys.accept(one))).toEqual([false, false, false, false]);
  });

  test('it is good for some hours, and no client can write more into it', () => {
    const keys = new LoginKeys('right');
    const link = loginLink(PAGE, 'right', '/', 0);
    const [until, nonce, signature] = keyOf(link).split('.');
    expect(keys.accept(keyOf(link), Number(until))).toBe(false);
    expect(keys.accept(`${Number(until) + 1}.${nonce}.${signature}`, Number(until))).toBe(false);
    expect(keys.accept(keyOf(link), Number(until) - 1)).toBe(true);
  });

  test('without a token it is the page itself', () => {
    expect(loginLink(PAGE, null, '/runs/abcd')).toBe(`${PAGE}/runs/abcd`);
  });
});
