import { create } from '@bufbuild/protobuf';
import { RunSettingsSchema } from '../../generated/espalier/v1/common_pb.js';
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
const known = (of: PlanRunResponse) => ({ plan: of, trouble: undefined });
const fact = (all: ReturnType<typeof planFacts>, term: string): string =>
  all.find((one) => one.term === term)!.value.replaceAll(/[\u2009\u202f]/g, ' ');

describe('the plan of a form', () => {
  test('says what does not fit, and what would', () => {
    const short = plan(24n * GIB, 18n * GIB);
    expect(fact(planFacts(known(short)), 'Memory')).toBe('24.0 GiB of 18.0 GiB: does not fit');
    expect(planFacts(known(short)).find(({ term }) => term === 'Memory')?.isShort).toBe(true);
    expect(remedyWords(short).replaceAll('\u2009', ' ')).toBe(
      'It does not fit in memory: 18.0 GiB would, with checkpoint activations, sequence length 128.',
    );
    expect(remedyWords(plan(GIB, 2n * GIB))).toBe('');
  });

  test('of a run with a time has no steps, which are chosen at its start', () => {
    const chosen = create(RunSettingsSchema, { time: 1800 });
    const timed = create(PlanRunResponseSchema, { ...plan(GIB, 2n * GIB), settings: chosen, stepsToChoose: true });
    expect([fact(planFacts(known(timed)), 'Steps'), fact(planFacts(known(timed)), 'Time')]).toEqual(['chosen at the start', '30m']);
    const once = create(PlanRunResponseSchema, { ...timed, estimatedSteps: 230n });
    expect(fact(planFacts(known(once)), 'Steps')).toBe('chosen at the start, at most about 230');
  });

  test('of a launch counts all steps, and that of a fork those from its beginning', () => {
    const launch = plan(GIB, 2n * GIB);
    expect([fact(planFacts(known(launch)), 'Steps'), fact(planFacts(known(launch)), 'Teachers')]).toEqual(['400', '49']);
    const fork = create(PlanRunResponseSchema, { ...launch, forkedAtStep: 73n });
    expect([fact(planFacts(known(fork)), 'Steps'), fact(planFacts(known(fork)), 'Teachers')]).toEqual([
      '327, from step 73 to 400',
      '49 more',
    ]);
    expect(fact(planFacts(known(fork)), 'Time')).toBe('about 13 min'); // the server counts the steps of the fork alone
  });

  test('of a fork that does not fit proposes no setting that a fork keeps', () => {
    const fork = create(PlanRunResponseSchema, { ...plan(24n * GIB, 18n * GIB), forkedAtStep: 73n });
    expect(remedyWords(fork)).toBe('It does not fit in memory, and a fork keeps the batch and the length of its parent.');
  });

  test('has no figures before there is an answer', () => {
    const refusal = { code: 'X', message: 'no answer', fields: [], isAway: false, isLocked: false, isPassing: false };
    const values = (trouble: Trouble | undefined) => new Set(planFacts({ plan: undefined, trouble }).map(({ value }) => value));
    expect(values(undefined)).toEqual(new Set(['…'])); // not known yet, which is not the same as none
    expect(values(refusal)).toEqual(new Set(['–']));
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
