import { halfBuiltText } from '#files';

test('an installation without compiled SQLite says what to run, and other errors are not taken for it', () => {
  const missing = new Error('Could not locate the bindings file. Tried:\n → /app/node_modules/better-sqlite3/build/better_sqlite3.node');
  expect(halfBuiltText(missing)).toMatch(/only half built.*: run "npm run build"$/);
  expect(halfBuiltText(new Error('unable to open database file'))).toBeNull();
  expect(halfBuiltText('Could not locate the bindings file')).toBeNull();
});
