import { create } from '@bufbuild/protobuf';
import { EngineSchema, EngineStatus } from '../generated/espalier/v1/engine_service_pb.js';
import { alertsOf, engineNotes, engineTone, engineWord, isDiskLow } from './server-words.js';

const engine = (part: Parameters<typeof create<typeof EngineSchema>>[1]) => create(EngineSchema, part);
const GIB = 1n << 30n;

test('an engine says its state, and what its row has no room for', () => {
  expect([engineWord(EngineStatus.NOT_RESPONDING), engineTone(EngineStatus.NOT_RESPONDING)]).toEqual(['not responding', 'bad']);
  expect(engineTone(EngineStatus.NOT_STARTED)).toBe('quiet');
  const problem = { message: 'it was killed', code: 'ENGINE_LOST' };
  expect(engineNotes(engine({ doing: 'trains run abcd', waitingJobs: 2, losses: 1, problem }))).toEqual([
    'trains run abcd',
    '2 more wait for it',
    'last problem: it was killed (ENGINE_LOST)',
    'lost once since the server started',
  ]);
  const held = engine({ heldBy: 'process 7 on b', heldUntil: { seconds: 100n }, problem });
  expect(engineNotes(held, 90_000)).toEqual(['belongs to the orchestrator in process 7 on b, for 10 s more unless that renews its lease']);
});

test('a disk is low with less than two gibibytes free; where it is not known it is not', () => {
  expect([GIB, 3n * GIB, undefined].map(isDiskLow)).toEqual([true, false, false]);
});

test('alerts name what needs attention, the most urgent first; a server that told nothing yet has no alert', () => {
  expect(alertsOf({})).toEqual([]);
  const engines = [engine({ name: 'local-1', status: EngineStatus.BUSY }), engine({ name: 'far', status: EngineStatus.UNREACHABLE })];
  const [missing, artifactTrouble] = ['events are missing: 3 of run abcd', 'could not read the artifact store: status 403, ExpiredToken'];
  const alerts = alertsOf({ engines, missing, artifactTrouble, damagedRuns: 1, availableBytes: GIB });
  expect(alerts.map(({ words }) => words.replaceAll('\u2009', ' '))).toEqual([
    'Events are missing: 3 of run abcd',
    'Could not read the artifact store: status 403, ExpiredToken',
    'The record of a run is damaged',
    'The disk is nearly full: 1.00 GiB free',
    'Engine far: unreachable',
  ]);
});
