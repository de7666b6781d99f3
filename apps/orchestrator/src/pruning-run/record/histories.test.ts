// Folds recorded histories of each version of the events, exactly as they were stored. The files never change; a new version adds files
// (npm run record-histories). Each line holds one event: its id (from version 2 on), its type, and its stored bytes as text.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { settingsTable } from '#protocol';
import { fold, type PruningRunState } from '../aggregate/pruning-run.js';
import { laterParts } from './later-parts.js';
import { CHAIN_START, chainProblem, decodeStored } from './stored-event.js';
import { CURRENT_VERSION, knownTypeNames } from './event-versions.js';

const folder = fileURLToPath(new URL('../../../../../../apps/orchestrator/src/pruning-run/record/histories/', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));

function stored(file: string): { id: string; type: string; data: Uint8Array }[] {
  return readFileSync(folder + file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { id = '', type, data } = JSON.parse(line) as { id?: string; type: string; data: string };
      return { id, type, data: Buffer.from(data) };
    });
}

/** The state that each history led to when it was recorded. */
const outcomes: Record<string, Partial<PruningRunState>> = {
  'v1-launched.jsonl': { status: 'completed', branch: 1, attempt: 4, restarts: 1, revision: 67 },
  'v1-forked.jsonl': { status: 'cancelled', branch: 0, attempt: 0, restarts: 0, revision: 1 },
  'v2-launched.jsonl': { status: 'completed', branch: 1, attempt: 4, restarts: 1, revision: 152 },
  'v2-forked.jsonl': { status: 'cancelled', branch: 0, attempt: 1, restarts: 0, revision: 20 },
  'v2-failed.jsonl': { status: 'failed', branch: 0, attempt: 2, restarts: 0, revision: 15 },
  'v2-waiting.jsonl': { status: 'paused', pausedBy: 'obstacle', branch: 0, attempt: 2, restarts: 0, revision: 65 },
  'v2-deleted.jsonl': { status: 'deleted', name: 'recorded end', tags: ['kept'], note: '', attempt: 1, restarts: 0, revision: 125 },
  'v3-launched.jsonl': { status: 'completed', phase: 'recover', branch: 1, attempt: 5, restarts: 2, revision: 268 },
  'v3-forked.jsonl': { status: 'cancelled', phase: 'prune', branch: 0, attempt: 1, restarts: 0, revision: 9 },
  'v3-waiting.jsonl': { status: 'paused', pausedBy: 'obstacle', branch: 0, attempt: 2, restarts: 0, revision: 65 },
  'v3-deleted.jsonl': { status: 'deleted', name: 'recorded end', tags: ['kept'], note: '', attempt: 1, restarts: 0, revision: 125 },
  'v3-skipped.jsonl': { status: 'failed', branch: 0, attempt: 1, restarts: 0, revision: 11 },
};

describe.each(files)('the history %s', (file) => {
  it('has a whole chain', () => {
    let chain = CHAIN_START;
    for (const event of stored(file)) {
      expect(chainProblem(chain, event)).toBeNull();
      chain = decodeStored(event).chain;
    }
  });
  it('holds no type that became unknown', () => {
    expect(stored(file).map((event) => decodeStored(event).type)).not.toContain('Unknown');
  });
  it('still comes to what it came to, with settings that are known since', () => {
    expect(outcomes[file]).toBeDefined();
    const run = fold(stored(file).map(decodeStored))!;
    expect(run).toMatchObject(outcomes[file]!);
    expect(settingsTable().filter(({ name }) => run.settings[name] === undefined)).toEqual([]);
    expect(laterParts(run)).toEqual([]);
  });
});

it('every type of event is in one of the histories', () => {
  const recorded = new Set(files.flatMap((file) => stored(file).map(({ type }) => type)));
  expect(knownTypeNames.filter((type) => !recorded.has(type))).toEqual([]);
});

it('exists for every version so far', () => {
  for (let version = 1; version <= CURRENT_VERSION; version += 1) expect(files.some((name) => name.startsWith(`v${version}-`))).toBe(true);
});
