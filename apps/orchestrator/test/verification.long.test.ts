// Tests what a proof says of a run whose segments come out differently when they are computed again. Proofs that hold are in
// verification.test.ts.
import { join } from 'node:path';
import { v1 } from '#protocol';
import type { StepMeasurement } from '../src/pruning-run/record/steps-measured.js';
import type { ReplayPlanner, ReplaySegment } from '../src/verification/replay/replay-plan.js';
import { replaySegments, type SegmentVerdict } from '../src/verification/replay/replay.js';
import { EngineProcess } from '../src/engines/engine-process.js';
import { completedRun } from './harness/completed-run.js';
import { collect } from './harness/server.js';
import { replayPlan } from './harness/record-checks.js';

const proven = completedRun({ maskRounding: v1.MaskRounding.MASK_ROUNDING_GROUPS });
const { server } = proven;

describe('what is narrowed down when a segment comes out differently', () => {
  let engine: EngineProcess;
  let segments: ReplaySegment[];
  let planner: ReplayPlanner;
  let recorded: StepMeasurement[];
  const kept = new Set<string>();

  beforeAll(async () => {
    planner = replayPlan(await server.events(proven.run.runId));
    segments = planner.segments;
    for await (const { digest } of proven.artifacts.list()) kept.add(digest);
    const options = { folder: join(proven.folder, 'engine'), device: 'auto', threads: 1, onOutput: () => undefined };
    engine = await EngineProcess.start(options, AbortSignal.timeout(240_000));
    const file = Buffer.concat(
      (await collect(server.history.exportMetrics({ runId: proven.run.runId, format: 'jsonl' }))).map(({ chunk }) => chunk),
    );
    const camel = (name: string): string => name.replace(/_./g, (pair) => pair[1]!.toUpperCase());
    recorded = file
      .toString()
      .trimEnd()
      .split('\n')
      .map(
        (line) =>
          Object.fromEntries(
            Object.entries(JSON.parse(line) as Record<string, unknown>).map(([name, value]) => [camel(name), value]),
          ) as unknown as StepMeasurement,
      );
  });
  afterAll(() => engine.stop());

  async function replay(changed: ReplaySegment | ReplaySegment[], tolerance: number | null = null): Promise<SegmentVerdict[]> {
    const all: SegmentVerdict[] = [];
    const verdicts = replaySegments({
      borrowEngines: async function* () {
        await Promise.resolve();
        yield { client: engine.client, name: '', isOther: false, isLast: true };
      },
      artifacts: proven.artifacts,
      model: planner.run!.model,
      data: planner.run!.data,
      segments: [changed].flat(),
      tolerance,
      signal: AbortSignal.timeout(240_000),
      recordedSteps: ({ firstStep, endStep }) => recorded.filter(({ step }) => step >= firstStep && step < endStep),
    });
    for await (const verdict of verdicts) all.push(verdict);
    return all;
  }
  const longSegment = (): ReplaySegment =>
    segments
      .filter(({ endDigest, startDigest }) => [endDigest, startDigest ?? ''].every((digest) => digest === '' || kept.has(digest)))
      .reduce((longest, one) => (one.endStep - one.firstStep > longest.endStep - longest.firstStep ? one : longest));

  test('the first divergent step is the one that was meddled with, and the tensors are measured', async () => {
    const segment = longSegment();
    const at = segment.endStep - segment.firstStep - 2;
    const scheduledSparsities = segment.scheduledSparsities.map((value, index) => (index === at ? value + 0.01 : value));
    const [verdict] = await replay({ ...segment, scheduledSparsities });
    expect(verdict).toMatchObject({ ok: false, stepDifference: { step: segment.firstStep + at } });
    expect(verdict!.detail).toContain('the engine is repeatable');
    expect(verdict!.detail).toMatch(/tensors differ/);
    expect(verdict!.tensorDifferences.every(({ maxAbs }) => maxAbs > 0 && Number.isFinite(maxAbs))).toBe(true);
  });

  test('a recorded measurement that was changed is found, although the state is reached again', async () => {
    const [segment, whole] = [longSegment(), recorded];
    const step = segment.firstStep + 1;
    recorded = whole.map((one) => (one.step === step ? { ...one, loss: 0.123 } : one));
    const [verdict] = await replay(segment).finally(() => (recorded = whole));
    expect(verdict).toMatchObject({ ok: false, stepDifference: { step, quantity: 'loss', recorded: 0.123 } });
    expect(verdict!.detail).toContain(`reached again, bit for bit, but loss of step ${step} was recorded as 0.123`);
  });

  test('another teacher than the recorded one is found at the first step that it instructs within a segment', async () => {
    const at = segments.findIndex(({ stretches }) => stretches.length > 1);
    const segment = segments[at]!;
    const leading = segments.slice(
      segments.slice(0, at + 1).findLastIndex(({ startDigest }) => kept.has(startDigest!)),
      at,
    );
    const [before, meddled, ...rest] = segment.stretches;
    expect((await replay([...leading, segment])).at(-1)).toMatchObject({ segment, ok: true });
    const verdicts = await replay([
      ...leading,
      { ...segment, stretches: [before!, { ...meddled!, teacher: { kind: 'intact' } }, ...rest] },
    ]);
    expect(verdicts.at(-1)).toMatchObject({ ok: false, stepDifference: { step: meddled!.firstStep } });
  });

  test('the metrics of every step name the teacher that is recorded as its instructor', () => {
    const marks = segments.flatMap(({ firstStep, endStep, stretches }) =>
      Array.from({ length: endStep - firstStep }, (_, index) => {
        const teacher = stretches.findLast((one) => one.firstStep <= firstStep + index)!.teacher;
        return teacher.kind === 'snapshot' ? teacher.mark : null;
      }),
    );
    expect(recorded.map(({ teacherMark }) => teacherMark)).toEqual(marks);
    expect(new Set(marks).size).toBeGreaterThan(10);
  });

  test('other numerics are refused, or compared within a tolerance and reported as such', async () => {
    const other = { ...longSegment(), numericsFingerprint: 'of another machine' };
    await expect(replay(other)).rejects.toMatchObject({ code: 'NUMERICS_CHANGED' });
    const [verdict] = await replay({ ...other, scheduledSparsities: other.scheduledSparsities.map((value) => value * (1 + 1e-9)) }, 1e-3);
    expect(verdict).toMatchObject({ ok: true });
    expect(verdict!.detail).toContain('on other numerics');
    const [worse] = await replay({ ...other, scheduledSparsities: other.scheduledSparsities.map((value) => value + 0.1) }, 1e-3);
    expect(worse!.ok).toBe(false);
  });
});
