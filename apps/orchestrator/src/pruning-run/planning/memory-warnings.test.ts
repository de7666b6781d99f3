import { memoryWarnings } from './memory-warnings.js';

const settings = { streamWeights: false, microShards: 1, recoverWeights: 'lora' } as const;
const planned = { hostBytes: 0n, devices: 1, devicesThere: 1 };

test('weights are streamed to a card only: where the processor computes, the setting is said to change nothing', () => {
  expect(memoryWarnings({ ...settings, streamWeights: true }, planned)).toMatchObject([
    { code: 'NOTHING_TO_STREAM', field: 'settings.stream_weights' },
  ]);
  expect(memoryWarnings({ ...settings, streamWeights: true }, { ...planned, hostBytes: 1n })).toEqual([]);
  expect(memoryWarnings(settings, planned)).toEqual([]);
});

test('devices that take no part in a step are told of, with the setting that decides it', () => {
  const warned = (with_: Partial<Parameters<typeof memoryWarnings>[0]>, devices: number, devicesThere: number) =>
    memoryWarnings({ ...settings, ...with_ }, { ...planned, devices, devicesThere }).map(({ code, field, message }) => [
      code,
      field,
      message,
    ]);
  expect(warned({ microShards: 6 }, 2, 4)).toEqual([
    [
      'DEVICES_IDLE',
      'settings.micro_shards',
      "of the engine's 4 devices 2 compute: as many as the largest power of two that divides micro_shards, which is 6, " +
        'and with a multiple of 4 it is 4',
    ],
  ]);
  expect(warned({ microShards: 2 }, 2, 3)[0]![2]).toBe(
    "of the engine's 3 devices 2 compute: as many as the largest power of two that divides micro_shards, which is 2",
  );
  expect(warned({ microShards: 4, recoverWeights: 'all' }, 4, 4)).toEqual([
    ['DEVICES_IDLE', 'settings.recover_weights', expect.stringContaining('the first of')],
  ]);
  expect(warned({ microShards: 4 }, 4, 4)).toEqual([]);
});
