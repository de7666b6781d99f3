import { Users } from './users.js';

const PASSWORD = 'p'.repeat(43);

test('a user logs in with its own password, and no other caller does', () => {
  const users = new Users({ admin: PASSWORD, ops: 'o' });
  expect([users.verify('admin', PASSWORD), users.verify('ops', 'o')]).toEqual(['admin', 'ops']);
  const wrong = [
    ['admin', `${PASSWORD}x`],
    ['admin', ''],
    ['admin', 'o'],
    ['somebody', PASSWORD],
    ['__proto__', ''],
  ] as const;
  for (const [login, password] of wrong) expect(users.verify(login, password)).toBeUndefined();
});

test('a user without a password does not exist', () => {
  const users = new Users({ admin: PASSWORD, ops: undefined });
  for (const password of ['', 'undefined', 'changeit']) expect(users.verify('ops', password)).toBeUndefined();
});
