// Tests that a query's statement is prepared once for each database, and shows what the database has at the moment.
import Database from 'better-sqlite3';
import { prepared } from './prepared-statements.js';

test('a statement is prepared once for each database', () => {
  const [one, other] = [new Database(':memory:'), new Database(':memory:')];
  for (const database of [one, other]) database.exec('CREATE TABLE books (title TEXT)');
  const prepare = jest.spyOn(one, 'prepare');
  const titlesIn = (database: Database.Database): string[] =>
    prepared<{ title: string }>(database, 'SELECT title FROM books')
      .all()
      .map(({ title }) => title);
  expect(titlesIn(one)).toEqual([]);
  one.exec("INSERT INTO books VALUES ('Emma')");
  expect([titlesIn(one), titlesIn(other), prepare.mock.calls.length]).toEqual([['Emma'], [], 1]);
  one.exec('ALTER TABLE books ADD COLUMN year INTEGER');
  expect([titlesIn(one), prepare.mock.calls.length]).toEqual([['Emma'], 1]);
  one.close();
  expect(titlesIn(other)).toEqual([]);
  other.close();
});
