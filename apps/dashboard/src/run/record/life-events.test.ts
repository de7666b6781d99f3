import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { joined, lifeOf, lostWithServer, stretchesOf } from './life-events.js';

const event = (type: string, atMs: number, data: object = {}) => ({
  revision: BigInt(atMs),
  type,
  recordedAt: timestampFromMs(atMs),
  summary: `${type} in words`,
  dataJson: JSON.stringify(data),
});

describe('the life of a run', () => {
  test('has a span for each engine, from its start to its loss, a pause or the end', () => {
    const { attempts, gaps, happenings } = lifeOf(
      [
        event('RunLaunched', 0),
        event('EngineAttached', 10, { attempt: 1, engineName: 'local-1', device: 'cpu' }),
        event('EngineLost', 30, { lastStep: 5, cause: 'engine' }),
        event('EngineAttached', 40, { attempt: 2, engineName: 'gpu-2', device: 'cuda:0' }),
      ],
      new Map(),
    );
    expect(attempts).toEqual([
      { fromMs: 10, toMs: 30, attempt: 1, engine: 'local-1, cpu', end: 'EngineLost' },
      { fromMs: 40, toMs: null, attempt: 2, engine: 'gpu-2, cuda:0', end: '' },
    ]);
    expect(happenings.map(({ atMs, type, words }) => [atMs, type, words])).toEqual([
      [0, 'RunLaunched', 'RunLaunched in words'],
      [10, 'EngineAttached', 'EngineAttached in words'],
      [30, 'EngineLost', 'EngineLost in words'],
      [40, 'EngineAttached', 'EngineAttached in words'],
    ]);
    expect(gaps).toEqual([]);
  });

  test('has the pauses, and the times in which its server was away: an attempt that was lost with it ended before', () => {
    const events = [
      event('EngineAttached', 10, { attempt: 1, engineName: 'local-1', device: 'cpu' }),
      event('EngineLost', 90, { lastStep: 5, cause: 'orchestrator' }),
      event('EngineAttached', 100, { attempt: 2, engineName: 'local-1', device: 'cpu' }),
      event('RunPaused', 120, { step: 9, by: 'request' }),
      event('RunResumed', 150),
      event('RunPaused', 160, { step: 9, by: 'request' }),
    ];
    expect(lostWithServer(events)).toEqual([90n]);
    const { attempts, gaps } = lifeOf(events, new Map([[90n, 40]]));
    expect(attempts.map(({ fromMs, toMs, end }) => [fromMs, toMs, end])).toEqual([
      [10, 40, 'EngineLost'],
      [100, 120, 'RunPaused'],
    ]);
    expect(gaps).toEqual([
      { fromMs: 40, toMs: 90, kind: 'away' },
      { fromMs: 120, toMs: 150, kind: 'paused' },
      { fromMs: 160, toMs: null, kind: 'paused' },
    ]);
  });

  test('names the steps that were computed twice, and by whom', () => {
    const stretches = [
      { firstStep: 0, endStep: 10, stateDigest: '', agrees: true },
      { firstStep: 10, endStep: 20, stateDigest: '', agrees: false },
    ];
    const replayed = event('StepsReplayed', 5, { cause: 'verification', engineName: '', device: 'cpu', isOtherEngine: true, stretches });
    expect(stretchesOf([replayed])).toEqual([
      { firstStep: 0, endStep: 10, agrees: true, engine: 'a process of the server, cpu', isOther: true, cause: 'verification' },
      { firstStep: 10, endStep: 20, agrees: false, engine: 'a process of the server, cpu', isOther: true, cause: 'verification' },
    ]);
    expect(stretchesOf([event('RunPaused', 5)])).toEqual([]);
  });

  test('names neighbours that were computed alike as one', () => {
    const [one] = stretchesOf([
      event('StepsReplayed', 5, {
        ...{ cause: 'verification', engineName: 'local-1', device: 'cpu', isOtherEngine: false },
        stretches: [{ firstStep: 0, endStep: 10, stateDigest: '', agrees: true }],
      }),
    ]);
    const next = { ...one!, firstStep: 10, endStep: 20 };
    expect(joined([one!, next, { ...next, firstStep: 20, endStep: 30, agrees: false }, { ...one!, isOther: true }])).toEqual([
      { ...one!, endStep: 20 },
      { ...next, firstStep: 20, endStep: 30, agrees: false },
      { ...one!, isOther: true },
    ]);
  });
});
