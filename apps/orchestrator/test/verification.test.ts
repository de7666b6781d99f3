// Tests the proofs about a run with the real processes: its record is checked, computed again, bundled and compared.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkAuditBundle } from '#audit';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import type { StepMeasurement } from '../src/pruning-run/record/steps-measured.js';
import { openUnits } from '../src/queries/open-units.js';
import { readStateFile } from '../src/queries/state-file.js';
import type { ReplayPlanner, ReplaySegment } from '../src/verification/replay-plan.js';
import { replaySegments, type SegmentVerdict } from '../src/verification/replay.js';
import { EngineProcess } from '../src/engines/engine-process.js';
import { codeOf, collect, TestServer, unary } from './harness/server.js';
import { replayPlan } from './harness/record-checks.js';

const server = TestServer.inNewFolder();
let run: v1.Run;
let folder: string;
let artifacts: ArtifactStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'verification-'));
  await server.start();
  run = await server.completed((await server.launch({ maskRounding: v1.MaskRounding.MASK_ROUNDING_GROUPS })).runId);
  artifacts = await openArtifactStore({ folder: join(server.dataFolder, 'artifacts') });
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

const verify = (request: Partial<v1.VerifyRunRequest> = {}): Promise<v1.VerifyRunResponse[]> =>
  collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: run.runId, ...request })));
const failures = (verdicts: v1.VerifyRunResponse[]): v1.VerifyRunResponse[] => verdicts.filter(({ ok }) => !ok);

test('the whole record holds, and executing it again reaches every recorded state bit for bit', async () => {
  const verdicts = await verify({ replay: true });
  expect(failures(verdicts)).toEqual([]);
  expect(verdicts.at(-1)?.summary).toMatchObject({
    ok: true,
    replayedSteps: run.step,
    numericsFingerprint: run.numericsFingerprint,
    problems: [],
    maxAbsDifference: 0,
  });
  const shares = verdicts.map(({ doneShare }) => doneShare);
  expect(shares).toEqual([...shares].sort((left, right) => left - right));
});

test('a range is executed from the nearest state before it', async () => {
  const verdicts = await verify({ replay: true, fromStep: 60n, toStep: 70n });
  expect(failures(verdicts)).toEqual([]);
  const { replayedSteps } = verdicts.at(-1)!.summary!;
  expect(replayedSteps).toBeGreaterThan(10n);
  expect(replayedSteps).toBeLessThan(run.step);
});

test('a flipped byte in a snapshot on the disk is found and named', async () => {
  const path = artifacts.pathOf!(run.stateDigest);
  const whole = await readFile(path);
  const damaged = Buffer.from(whole);
  damaged[damaged.byteLength >> 1]! ^= 1;
  await writeFile(path, damaged);
  expect(failures(await verify()).map(({ subject }) => subject)).toContain(`artifact ${run.stateDigest}`);
  await writeFile(path, whole);
  expect(failures(await verify())).toEqual([]);
});

test('a bundle is checked offline, snapshots included; it says who instructed; a damaged one is refused', async () => {
  const file = join(folder, 'run.audit');
  const chunks = await collect(server.history.exportAudit({ runId: run.runId, includeSnapshots: true }));
  const bundle = Buffer.concat(chunks.map(({ chunk }) => chunk));
  await writeFile(file, bundle);
  const report = await checkAuditBundle(file);
  expect(report.problems).toEqual([]);
  expect(report.artifacts).toBeGreaterThan(run.teacherCount);
  expect(report.manifest).toMatchObject({ runId: run.runId, stateDigest: run.stateDigest, missingSnapshots: [] });
  expect(report.instructions[0]).toMatchObject({ fromStep: 0, teacher: 'intact model' });
  bundle[bundle.byteLength >> 1]! ^= 1;
  await writeFile(file, bundle);
  expect((await checkAuditBundle(file)).ok).toBe(false);
});

describe('what is narrowed down when a segment comes out differently', () => {
  let engine: EngineProcess;
  let segments: ReplaySegment[];
  let planner: ReplayPlanner;
  let recorded: StepMeasurement[];
  const kept = new Set<string>();

  beforeAll(async () => {
    planner = replayPlan(await server.events(run.runId));
    segments = planner.segments;
    for await (const { digest } of artifacts.list()) kept.add(digest);
    const options = { folder: join(folder, 'engine'), device: 'auto', threads: 1, onOutput: () => undefined };
    engine = await EngineProcess.start(options, AbortSignal.timeout(240_000));
    const file = Buffer.concat(
      (await collect(server.history.exportMetrics({ runId: run.runId, format: 'jsonl' }))).map(({ chunk }) => chunk),
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
      borrowEngine: () => Promise.resolve({ client: engine.client, release: () => Promise.resolve() }),
      artifacts,
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

test('the heads and units that a state rounded by groups keeps are those that the engine counted', async () => {
  const open = openUnits(readStateFile(await artifacts.get(run.stateDigest)));
  expect(open.heads.map(({ size }) => size)).toEqual(run.layers.map(({ headsOpen }) => headsOpen));
  expect(open.units.map(({ size }) => size)).toEqual(run.layers.map(({ unitsOpen }) => unitsOpen));
  expect(open.hidden.size).toBe(run.hiddenOpen);
});

test('family and differences of a fork', async () => {
  const request = v1.ForkRunRequest.fromPartial({
    parentRunId: run.runId,
    from: { $case: 'teacherMark', value: 5 },
    overrides: { seed: 99n, totalSteps: 60 },
  });
  const { run: started } = await unary<v1.ForkRunResponse>((cb) => server.runs.forkRun(request, cb));
  const child = await server.completed(started!.runId);
  const lineage = await unary<v1.GetLineageResponse>((cb) => server.runs.getLineage({ runId: child.runId }, cb));
  expect(lineage.ancestors).toEqual([run.runId]);
  expect(lineage.tree.map(({ runId, depth }) => [runId, depth])).toEqual([
    [run.runId, 0],
    [child.runId, 1],
  ]);
  const difference = await unary<v1.CompareRunsResponse>((cb) =>
    server.runs.compareRuns({ leftRunId: run.runId, rightRunId: child.runId }, cb),
  );
  expect(difference.settings.map(({ field }) => field)).toEqual(expect.arrayContaining(['settings.seed', 'settings.total_steps']));
  expect(difference).toMatchObject({ commonAncestorRunId: run.runId, commonStep: child.forkedAtStep });
  for (const { layer, headsOnlyLeft, headsOnlyRight, unitsOnlyLeft, unitsOnlyRight } of difference.layers) {
    const [left, right] = [run.layers[layer]!, child.layers[layer]!];
    expect(headsOnlyLeft.length - headsOnlyRight.length).toBe(left.headsOpen - right.headsOpen);
    expect(unitsOnlyLeft.length - unitsOnlyRight.length).toBe(left.unitsOpen - right.unitsOpen);
  }
  expect(failures(await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: child.runId, replay: true }))))).toEqual(
    [],
  );
  const teachers = await unary<v1.ListTeachersResponse>((cb) =>
    server.artifacts.listTeachers({ runId: child.runId, includeAbandoned: false, includeInherited: true, includeDiscarded: false }, cb),
  );
  expect(teachers.teachers.filter(({ inherited }) => inherited).map(({ mark, runId }) => [mark, runId])).toEqual(
    [1, 2, 3, 4, 5].map((mark) => [mark, run.runId]),
  );
});

test('artifacts: what one is, and its bytes from an offset', async () => {
  const stat = await unary<v1.StatArtifactResponse>((cb) => server.artifacts.statArtifact({ digest: run.stateDigest }, cb));
  expect(stat.mediaType).toBe('application/x-safetensors');
  const whole = await readFile(artifacts.pathOf!(run.stateDigest));
  for (const offset of [0n, 1000n, stat.bytes]) {
    const messages = await collect(server.artifacts.downloadArtifact({ digest: run.stateDigest, offset }));
    expect(messages[0]?.totalBytes).toBe(stat.bytes);
    expect(Buffer.compare(Buffer.concat(messages.map(({ chunk }) => chunk)), whole.subarray(Number(offset)))).toBe(0);
  }
  const refused = async (digest: string, offset: bigint): Promise<string> =>
    collect(server.artifacts.downloadArtifact({ digest, offset })).then(() => 'sent', codeOf);
  expect(await refused('a'.repeat(64), 0n)).toBe('ARTIFACT_NOT_FOUND');
  expect(await refused('../etc/passwd', 0n)).toBe('ARTIFACT_DIGEST_INVALID');
  expect(await refused(run.stateDigest, stat.bytes + 1n)).toBe('FIELD_OUT_OF_RANGE');
});
