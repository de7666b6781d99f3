import { create } from '@bufbuild/protobuf';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { RunSchema } from '../generated/espalier/v1/run_service_pb.js';
import {
  bytes,
  clockName,
  clockTick,
  counted,
  countTick,
  decimal,
  duration,
  missedTarget,
  percentTick,
  plainNumber,
  runStatusWords,
  short,
  statusTone,
  statusWordsOf,
  stepRange,
  tick,
} from './format.js';

const plain = (text: string): string => text.replaceAll(/[\u2009\u202f]/g, ' ');

describe('numbers as people read them', () => {
  test.each([
    ['0.30000000000000004', '0.3'],
    ['0.7000000000000001', '0.7'],
    ['0.25', '0.25'],
    ['-0.10000000000000001', '-0.1'],
    ['18446744073709551615', '18446744073709551615'],
    ['nuteprune', 'nuteprune'],
    ['–', '–'],
  ])('%s is shown as %s', (stored, shown) => {
    expect(plainNumber(stored)).toBe(shown);
  });

  test('a whole number has no digits behind the point', () => {
    expect([9282, 0, 50, -3, 4_915_200, 9282.25, 5.1234567, 1e-5].map(decimal).map(plain)).toEqual([
      '9 282',
      '0',
      '50',
      '\u22123',
      '4.92 M',
      '9 282.3',
      '5.123',
      '1.00e\u22125',
    ]);
  });

  test('ticks have no more digits than they need', () => {
    expect([0.46, 0.5, 0.005].map(percentTick).map(plain)).toEqual(['46 %', '50 %', '0.5 %']);
    expect([0, 250, 1_500, 2_000_000].map(countTick).map(plain)).toEqual(['0', '250', '1.5 k', '2 M']);
    expect([0, 0.25, -3, 1e-5, 5_000, -2.5e4, 2e6, 1e15].map(tick).map(plain)).toEqual([
      ...['0', '0.25', '\u22123', '1e\u22125', '5 000', '\u221225 k', '2 M', '1e15'],
    ]);
  });

  test('values, sizes and times', () => {
    expect([3.14159, 1234.5678, undefined, NaN].map(decimal).map(plain)).toEqual(['3.142', '1 234.6', '–', '–']);
    expect([999_999.6, 29_647.3, 9_999.6, 9_999.4, 999.97].map(decimal).map(plain)).toEqual([
      '1 000 000',
      '29 647',
      '9 999.6',
      '9 999.4',
      '1 000',
    ]);
    expect([999.7, 999_700, 2.5].map(short).map(plain)).toEqual(['1 000', '1 000 k', '2.50']);
    expect([-30.69, -3.01e-5].map(decimal)).toEqual(['\u221230.69', '\u22123.01e\u22125']);
    expect([0, 1, 2].map((one) => counted(one, 'restart'))).toEqual(['0 restarts', '1 restart', '2 restarts']);
    expect([512, 2_048, 1_034_240, 3 << 20].map(bytes).map(plain)).toEqual(['512 B', '2.00 KiB', '1 010 KiB', '3.00 MiB']);
    expect([5, 90, 7_260, 200_000, -1].map(duration).map(plain)).toEqual(['5 s', '2 min', '2 h 01', '2.3 d', '–']);
  });
});

test('steps from one to another are named once where they are one', () => {
  expect([stepRange(20, 21), stepRange(20, 23), stepRange(999, 1_002)].map(plain)).toEqual(['20', '20–22', '999–1 001']);
});

test('an axis of time has times of day, and the day where one begins', () => {
  const at = (...parts: [number, number, number?, number?, number?]): number => new Date(2026, ...parts).getTime() / 1000;
  expect([at(10, 28, 2, 10), at(10, 28, 2, 10, 15), at(10, 28)].map(clockTick)).toEqual(['02:10', '02:10:15', '28 Nov']);
  expect(clockName(at(10, 28, 2), at(10, 28, 5))).toBe('time on 28 Nov 2026');
  expect(clockName(at(10, 28, 2), at(10, 29, 5))).toBe('date and time');
});

describe('the colour of a run', () => {
  const run = (status: RunStatus, hardSparsity: number) => ({ status, hardSparsity, targetSparsity: 0.7 });

  test('is green only where it completed on its target', () => {
    expect(statusTone(run(RunStatus.COMPLETED, 0.699))).toBe('good');
    expect(statusTone(run(RunStatus.COMPLETED, 0.379))).toBe('wait');
    expect(missedTarget(run(RunStatus.COMPLETED, 0.379))).toBe(true);
    expect(missedTarget(run(RunStatus.TRAINING, 0.379))).toBe(false);
    expect(missedTarget({ ...run(RunStatus.TRAINING, 0.379), isPruned: true })).toBe(true);
  });
});

test('a run of a family, or on the disk, is evaluating where the server says so', () => {
  const words = (evaluating: boolean) => statusWordsOf({ status: RunStatus.TRAINING, evaluating });
  expect([words(false), words(true)]).toEqual(['training', 'evaluating']);
});

test('a run whose steps are all recorded is evaluating', () => {
  const at = (status: RunStatus, step: bigint) => {
    const run = create(RunSchema, { status, step, settings: { totalSteps: 50 }, phases: [{ endStep: 50n }, { endStep: 450n }] });
    return runStatusWords(run);
  };
  expect([at(RunStatus.TRAINING, 449n), at(RunStatus.TRAINING, 450n)]).toEqual(['training', 'evaluating']);
  expect([at(RunStatus.PREPARING, 450n), at(RunStatus.COMPLETED, 450n)]).toEqual(['evaluating', 'completed']);
});
