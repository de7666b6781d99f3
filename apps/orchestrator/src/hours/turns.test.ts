import { inTurn, type RunInTurn } from './turns.js';

const [ANN, BOB, CAT] = ['login:lab:ann', 'login:lab:bob', 'token:cat'] as const;
let launches = 0;
const waiting = (runId: string, launchedBy: string | null, more: Partial<RunInTurn> = {}): RunInTurn => ({
  runId,
  launchedBy,
  launchedAt: new Date(Date.UTC(2026, 0, 1) + (launches += 1)).toISOString(),
  priority: 0,
  status: 'queued',
  pausedBy: null,
  restartNotBefore: null,
  ...more,
});
const order = (runs: RunInTurn[], hours: Record<string, number> = {}, atWork: Record<string, number> = {}): string =>
  inTurn(
    runs.toReversed(),
    (caller) => (hours[caller] ?? 0) * 3_600,
    (caller) => atWork[caller] ?? 0,
  )
    .map(({ runId }) => runId)
    .join(' ');
const ofEach = (caller: string, ...ids: string[]): RunInTurn[] => ids.map((id) => waiting(id, caller));

test('given runs of one caller, then they come in the order of their launches', () => {
  expect(order(ofEach(ANN, 'a1', 'a2', 'a3'))).toBe('a1 a2 a3');
});

test('given five runs of one caller before the first of another, then the other waits behind one of them only', () => {
  expect(order([...ofEach(ANN, 'a1', 'a2', 'a3', 'a4', 'a5'), ...ofEach(BOB, 'b1')])).toBe('a1 b1 a2 a3 a4 a5');
});

test('given a caller whose run has an engine, then those of another come first until they count as much', () => {
  expect(order([...ofEach(ANN, 'a2', 'a3'), ...ofEach(BOB, 'b1', 'b2')], { [ANN]: 0.01 }, { [ANN]: 1 })).toBe('b1 b2 a2 a3');
});

test('given callers with other engine time, then the one with the least goes on until it has as much', () => {
  const queue = [...ofEach(ANN, 'a1', 'a2'), ...ofEach(BOB, 'b1', 'b2', 'b3'), ...ofEach(CAT, 'c1')];
  expect(order(queue, { [ANN]: 2.5, [BOB]: 0, [CAT]: 10 })).toBe('b1 b2 b3 a1 a2 c1');
});

test('given runs whose caller the record does not tell, then they share one turn', () => {
  expect(order([waiting('x1', null), waiting('x2', null), waiting('a1', ANN)])).toBe('x1 a1 x2');
});

test('given priorities, then the higher one comes first whatever its caller has used, and its run counts as a turn', () => {
  const queue = [waiting('a1', ANN), waiting('b1', BOB), waiting('a2', ANN, { priority: 5 }), waiting('b2', BOB, { priority: -1 })];
  expect(order(queue, { [ANN]: 0 })).toBe('a2 b1 a1 b2');
  expect(order(queue, { [ANN]: 100 })).toBe('a2 b1 a1 b2');
});

test.each([
  { status: 'restarting' },
  { pausedBy: 'shutdown', status: 'paused' },
  { restartNotBefore: '2026-01-01T00:00:00.000Z' },
] as const)('given a run that had an engine and lost it (%o), then it goes on before all others begin', (more) => {
  const queue = [waiting('a1', ANN, { priority: 100 }), waiting('b1', BOB), waiting('a2', ANN, more)];
  expect(order(queue, { [ANN]: 100 })).toBe('a2 a1 b1');
});
