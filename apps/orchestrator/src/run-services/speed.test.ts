// Tests what of an engine's measurement is recorded and sent.
import { engineV1 } from '#protocol';
import { stateAt } from '../pruning-run/testing.js';
import { speedFact, speedMessage } from './speed.js';

/** The machine was quicker while the pruned model was measured: by its own times it would be 1.3 times as fast. */
const outcome = engineV1.SpeedOutcome.fromPartial({
  dense: { prefillSeconds: 0.1, passSeconds: 0.01 },
  compact: {
    ...{ prefillSeconds: 0.07, prefillRatio: { median: 0.8, low: 0.75, high: 0.9 } },
    ...{ passSeconds: 0.0077, passRatio: { median: 1.25, low: 1.2, high: 1.3 } },
  },
  rounds: 5,
  computeDtype: 'bf16',
});

test('a pruned model is as much faster as its ratios say, though the machine drifted meanwhile', () => {
  const { dense, compact } = speedMessage(outcome, 'hf-remote');
  expect(dense).toMatchObject({ prefillSeconds: 0.1, passSeconds: 0.01 });
  expect(compact!.prefillSeconds).toBeCloseTo(0.08, 12);
  expect(compact!.passSeconds).toBeCloseTo(0.0125, 12);
  expect(compact!.decodeSpeedUp!.times).toBeCloseTo(0.8, 12);
});

test('the ratios are recorded with the state, the conditions and the device', () => {
  const state = stateAt(10, 0.5);
  const conditions = { sequences: 2, promptTokens: 64, tokens: 32 } as never;
  const bench = { engine: { about: { backend: 'cpu', device: 'a processor', threads: 4 } }, threads: 0 } as never;
  const { prefill, decode, ...fact } = speedFact(outcome, { kind: 'masked', state, teacherMark: 3 }, conditions, bench);
  expect(fact).toEqual({
    ...{ kind: 'recordSpeed', subject: 'masked', step: 10, stateDigest: state.stateDigest, teacherMark: 3 },
    ...{ backend: 'cpu', device: 'a processor', threads: 4, computeDtype: 'bf16' },
    ...{ batch: 2, promptTokens: 64, tokens: 32, rounds: 5 },
  });
  expect([prefill.times, decode.low, decode.high]).toEqual([1 / 0.8, 1 / 1.3, 1 / 1.2]);
  const silent = engineV1.SpeedOutcome.fromPartial({ compact: {} });
  expect(() => speedFact(silent, { kind: 'masked', state, teacherMark: null }, conditions, bench)).toThrow(
    expect.objectContaining({ code: 'ENGINE_FAILED' }),
  );
});
