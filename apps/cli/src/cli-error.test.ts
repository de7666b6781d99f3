// Holds the exit codes to the table of docs/commands.md.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { EspalierError } from '#protocol';
import { exitCodeOf } from './cli-error.js';

const page = readFileSync(fileURLToPath(new URL('../../../../docs/commands.md', import.meta.url)), 'utf8');

test('each gRPC status has the exit code of the table', () => {
  const rows = [...page.matchAll(/^\| ((?:`[A-Z_]+`(?:, )?)+) \| (\d) \|$/gm)];
  const table = new Map(rows.flatMap(([, names, code]) => [...names!.matchAll(/[A-Z_]+/g)].map(([name]) => [name, Number(code)])));
  const statuses = Object.keys(status).filter((name) => /^[A-Z_]+$/.test(name) && name !== 'OK');
  expect([...table.keys()].sort()).toEqual(statuses.sort());
  for (const [name, code] of table) expect([name, exitCodeOf(new EspalierError(name, ''))]).toEqual([name, code]);
  expect(['ENGINE_LOST', 'RUNS_TOO_MANY', 'STORE_LOCKED'].map((code) => exitCodeOf(new EspalierError(code, '')))).toEqual([4, 1, 5]);
});
