import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { lifeOf, stretchesOf } from './life-events.js';

const event = (type: string, atMs: number, data: object = {}) => ({
  type,
  recordedAt: timestampFromMs(atMs),
  summary: `${type} in words`,
  dataJson: JSON.stringify(data),
});

describe('the life of a run', () => {
  test('has a span for each engine, from its start to its loss, a pause or the end', () => {
    const { attempts, happenings } = lifeOf([
      event('RunLaunched', 0),
      event('EngineAttached', 10, { attempt: 1, engineName: 'local-1', device: 'cpu' }),
      event('EngineLost', 30, { lastStep: 5, cause: 'engine' }),
      event('EngineAttached', 40, { attempt: 2, engineName: 'gpu-2', device: 'cuda:0' }),
    ]);
    expect(attempts).toEqual([
      { fromMs: 10, toMs: 30, attempt: 1, engine: 'local-1, cpu', end: 'EngineLost' },
      { fromMs: 40, toMs: null, attempt: 2, engine: 'gpu-2, cuda:0', end: '' },
    ]);
    expect(happenings.map(({ atMs, type, words }) => [atMs, type, words])).toEqual([
      [0, 'RunLaunched', 'RunLaunched in words'],
      [30, 'EngineLost', 'EngineLost in words'],
    ]);
  });

  test('names the steps that were computed twice, and by whom', () => {
    const stretches = [
      { firstStep: 0, endStep: 10, stateDigest: '', agrees: true },
      { firstStep: 10, endStep: 20, stateDigest: '', agrees: false },
    ];
    expect(stretchesOf([event('StepsReplayed', 5, { cause: 'verification', engineName: '', isOtherEngine: true, stretches })])).toEqual([
      { firstStep: 0, endStep: 10, agrees: true, engine: 'a process of the server', isOther: true, cause: 'verification' },
      { firstStep: 10, endStep: 20, agrees: false, engine: 'a process of the server', isOther: true, cause: 'verification' },
    ]);
    expect(stretchesOf([event('RunPaused', 5)])).toEqual([]);
  });
});
