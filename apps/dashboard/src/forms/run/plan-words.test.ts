import { create } from '@bufbuild/protobuf';
import { PlanRunResponseSchema, type PlanRunResponse } from '../../generated/espalier/v1/run_service_pb.js';
import type { Trouble } from '../../api/view-state.js';
import { afterFailure, noPlanWords, planFacts, remedyWords } from './plan-words.js';

const GIB = 1n << 30n;
const plan = (needed: bigint, available: bigint): PlanRunResponse =>
  create(PlanRunResponseSchema, {
    settings: { targetSparsity: 0.5, totalSteps: 400, snapshotInterval: 0.01, sequenceLength: 512, microShards: 1 },
    memory: {
      totalBytes: needed,
      availableBytes: available,
      change: { totalBytes: available, sequenceLength: 128, microShards: 1, checkpointActivations: true },
    },
    disk: { stateBytes: 1_024n, teachers: 49, totalBytes: 51n * 1_024n, availableBytes: GIB },
    estimatedSeconds: 800,
  });
const fact = (all: ReturnType<typeof planFacts>, term: string): string =>
  all.find((one) => one.term === term)!.value.replaceAll(/[\u2009\u202f]/g, ' ');

describe('the plan of a form', () => {
  test('says what does not fit, and what would', () => {
    const short = plan(24n * GIB, 18n * GIB);
    expect(fact(planFacts(short, null), 'Memory')).toBe('24.0 GiB of 18.0 GiB: does not fit');
    expect(planFacts(short, null).find(({ term }) => term === 'Memory')?.isShort).toBe(true);
    expect(remedyWords(short).replaceAll('\u2009', ' ')).toBe(
      'It does not fit in memory: 18.0 GiB would, with checkpoint activations, sequence length 128.',
    );
    expect(remedyWords(plan(GIB, 2n * GIB))).toBe('');
  });

  test('of a launch counts all steps, of a fork those from its beginning', () => {
    const whole = planFacts(plan(GIB, 2n * GIB), null);
    expect(['Steps', 'Teachers', 'Time', 'Disk'].map((term) => fact(whole, term))).toEqual([
      '400',
      '49',
      'about 13 min',
      '51.0 KiB of 1.00 GiB',
    ]);
    const fork = planFacts(plan(GIB, 2n * GIB), { step: 73, expectedSparsity: 0.2 });
    expect(['Steps', 'Teachers', 'Time', 'Disk'].map((term) => fact(fork, term))).toEqual([
      '327, from step 73 to 400',
      '29 more',
      'about 11 min',
      '31.0 KiB of 1.00 GiB',
    ]);
  });

  test('of a fork that would begin where its steps end asks for more steps', () => {
    const facts = planFacts(plan(GIB, 2n * GIB), { step: 400, expectedSparsity: 0.2 });
    expect(facts.find(({ term }) => term === 'Steps')).toEqual({
      term: 'Steps',
      value: 'none after step 400: raise total steps or recover steps',
      isShort: true,
    });
    expect([fact(facts, 'Teachers'), fact(facts, 'Time')]).toEqual(['0 more', '–']);
  });

  test('has no figures before there is an answer', () => {
    expect(new Set(planFacts(undefined, null).map(({ value }) => value))).toEqual(new Set(['–']));
  });
});

describe('a plan that fails', () => {
  const failure = (part: Partial<Trouble>): Trouble => {
    return { code: 'X', message: 'no answer', fields: [], isAway: false, isLocked: false, isPassing: false, ...part };
  };
  const before = { plan: plan(GIB, 2n * GIB), trouble: undefined };

  test('by a refused value takes the plan before it away, and the field is named, wherever it lies in the form', () => {
    const fields = [{ field: 'settings.mask_noise', description: 'settings.mask_noise: must be 0 to 1, is 3' }];
    const after = afterFailure(before, failure({ fields }));
    expect(after.plan).toBeUndefined();
    expect(noPlanWords(after)).toBe('No plan: mask noise: must be 0 to 1, is 3');
  });

  test('for a cause that passes keeps the plan until the next answer', () => {
    const after = afterFailure(before, failure({ isPassing: true }));
    expect([after.plan, noPlanWords(after)]).toEqual([before.plan, '']);
  });
});
