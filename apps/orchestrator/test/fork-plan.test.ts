// Tests the plan of a fork beside the fork itself, with the real processes on the tiny model.
import { EspalierError, v1 } from '#protocol';
import { completedRun } from './harness/completed-run.js';
import { TINY_MODEL, unary } from './harness/server.js';

type Start = v1.ForkRunRequest['from'];
type Changed = Partial<v1.RunSettings>;

const LAST: Start = { $case: 'lastState', value: true };
const teacher = (mark: number): Start => ({ $case: 'teacherMark', value: mark });

describe('the plan of a fork', () => {
  const parent = completedRun({ warmupSteps: 90, recoverSteps: 60, sparsityControl: v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS });
  const { server } = parent;

  const asked = (from: Start, settings: Changed, parentRunId = parent.run.runId) => ({
    parentRunId,
    from,
    settings: v1.RunSettings.fromPartial(settings),
  });
  const request = (part: Partial<v1.PlanRunRequest>) =>
    unary<v1.PlanRunResponse>((done) => server.runs.planRun(v1.PlanRunRequest.fromPartial(part), done));
  const planned = (...fork: Parameters<typeof asked>) => request(asked(...fork));
  const forked = (...fork: Parameters<typeof asked>) =>
    unary<v1.ForkRunResponse>((done) => server.runs.forkRun(v1.ForkRunRequest.fromPartial(asked(...fork)), done));
  const refusal = (call: Promise<unknown>): Promise<unknown> =>
    call.then(
      () => 'accepted',
      (error: unknown) => (error instanceof EspalierError ? { code: error.code, violations: error.violations } : error),
    );

  it('counts only the steps, the snapshots and the time after its beginning', async () => {
    const launch = await request({ modelPath: TINY_MODEL, settings: parent.run.settings, forDevice: 'h100-80gb' });
    expect(launch).toMatchObject({ forkedAtStep: undefined, disk: { teachers: parent.run.teacherCount } });
    const fork = await request({ ...asked(teacher(7), {}), forDevice: 'h100-80gb' });
    const left = (180 - Number(fork.forkedAtStep)) / 180;
    expect(fork.disk!.teachers).toBe(launch.disk!.teachers - 7);
    expect(fork.estimatedSeconds! / launch.estimatedSeconds!).toBeCloseTo(left, 1);
    expect(fork.card!.seconds).toBeLessThan(launch.card!.seconds!);
    expect(fork.memory!.totalBytes).toBe(launch.memory!.totalBytes);
  });

  it.each<[string, number | 'last', Changed]>([
    ['that changes nothing', 7, {}],
    ['with fewer steps than the warm-up of its parent', 2, { totalSteps: 80 }],
    ['with another target and another recovery', 7, { targetSparsity: 0.4, recoverSteps: 200 }],
    ['that does not recover', 7, { recoverSteps: 0 }],
    ['whose sparsity is held by another rule', 7, { sparsityControl: v1.SparsityControl.SPARSITY_CONTROL_TRACKING }],
    ['that recovers for longer', 'last', { recoverSteps: 80 }],
  ])('%s has its settings and its beginning', async (_, from, settings) => {
    const start = from === 'last' ? LAST : teacher(from);
    const plan = await planned(start, settings);
    const { run } = await forked(start, settings);
    await unary((done) => server.runs.cancelRun({ runId: run!.runId, reason: 'planned only' }, done));
    expect(plan.settings).toEqual(run!.settings);
    expect(plan.forkedAtStep).toBe(run!.forkedAtStep);
  });

  it.each<[string, Start, Changed, string?]>([
    ['a run that is not there', LAST, {}, 'aaaaaaaaaaaa'],
    ['a teacher that is not there', teacher(99), {}],
    ['a teacher without a number', teacher(0), {}],
    ['a state that is not there', { $case: 'stateDigest', value: 'abcd' }, {}],
    ['a state of no digits', { $case: 'stateDigest', value: 'xyz' }, {}],
    ['no steps beyond those of its parent', LAST, {}],
    ['settings that give the state its meaning', teacher(7), { loraRank: 4, batchSize: 16 }],
    ['settings out of their range', teacher(7), { targetSparsity: 7, recoverLoraDropout: 2 }],
    ['another budget than its parent has', teacher(7), { targetParams: 100_000 }],
  ])('is refused as the fork is: %s', async (_, ...fork) => {
    const refused = await refusal(planned(...fork));
    expect(refused).toEqual({ code: expect.any(String) as string, violations: expect.any(Array) as unknown[] });
    expect(refused).toEqual(await refusal(forked(...fork)));
  });

  it('within recovery takes no teacher more, and tells the size that its masks have now', async () => {
    const { disk, result, warnings } = await planned(LAST, { recoverSteps: 80 });
    expect(disk!.teachers).toBe(0);
    expect(result).toEqual(parent.run.result);
    expect(warnings.map(({ field }) => field)).not.toContain('settings.mask_learning_rate');
  });

  it('names a parent or a model, not both', async () => {
    const start = { from: LAST, settings: v1.RunSettings.fromPartial({ recoverSteps: 80 }) };
    expect(await refusal(request({ ...start, parentRunId: parent.run.runId, modelPath: TINY_MODEL }))).toMatchObject({
      code: 'REQUEST_INVALID',
      violations: [{ field: 'model_path' }],
    });
    expect(await refusal(request({ ...start, modelPath: TINY_MODEL }))).toMatchObject({
      code: 'FIELD_REQUIRED',
      violations: [{ field: 'parent_run_id' }],
    });
    expect(await refusal(request({}))).toMatchObject({ code: 'FIELD_REQUIRED', violations: [{ field: 'model_path' }] });
  });
});
