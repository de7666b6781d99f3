// Tests the proofs about a run with the real processes: its record is checked, computed again, bundled and compared. Proofs that fail are
// in verification.long.test.ts.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkAuditBundle } from '#audit';
import { v1 } from '#protocol';
import { completedRun } from './harness/completed-run.js';
import { openUnitsOf } from './harness/open-units-of-state.js';
import { codeOf, collect, unary } from './harness/server.js';

const proven = completedRun({ maskRounding: v1.MaskRounding.MASK_ROUNDING_GROUPS });
const { server } = proven;

const verify = (request: Partial<v1.VerifyRunRequest> = {}): Promise<v1.VerifyRunResponse[]> =>
  collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: proven.run.runId, ...request })));
const failures = (verdicts: v1.VerifyRunResponse[]): v1.VerifyRunResponse[] => verdicts.filter(({ ok }) => !ok);

test('the whole record holds, and executing it again reaches every recorded state bit for bit', async () => {
  const verdicts = await verify({ replay: true });
  expect(failures(verdicts)).toEqual([]);
  expect(verdicts.at(-1)?.summary).toMatchObject({
    ok: true,
    replayedSteps: proven.run.step,
    numericsFingerprint: proven.run.numericsFingerprint,
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
  expect(replayedSteps).toBeLessThan(proven.run.step);
});

test('a sample computes as many recorded stretches again as are asked for, each from its own stored state', async () => {
  const verdicts = await verify({ replay: true, sample: 2 });
  expect(failures(verdicts)).toEqual([]);
  expect(verdicts.filter(({ check }) => check === 'replay')).toHaveLength(2);
  const { replayedSteps, numericsFingerprint, replayEngines, notRecorded } = verdicts.at(-1)!.summary!;
  expect([replayEngines, notRecorded]).toEqual([[{ name: '', other: false }], '']); // the machine that trained the run checks it
  expect(replayedSteps).toBeGreaterThan(0n);
  expect(replayedSteps).toBeLessThan(proven.run.step);
  expect(numericsFingerprint).toBe(proven.run.numericsFingerprint);
});

test('the record and a bundle say how many steps were computed twice', async () => {
  const { runId, step } = proven.run; // the first test computed all of them again
  const twice = { agreeing: step, byOtherEngine: 0n, differing: 0n, engines: [''] };
  expect((await verify()).at(-1)?.summary).toMatchObject({ replays: twice, steps: step, replayEngines: [] });
  const events = await server.events(runId);
  const replayed = events.filter(({ type }) => type === 'StepsReplayed');
  expect(replayed[0]!.summary).toBe(`${step} steps computed again by a verification on a process of the server: equal bits`);
  expect(replayed[0]!.context?.actor).toBe(events[0]!.context?.actor);
  expect((await server.run(runId)).replays).toEqual(twice);
  const chunks = await collect(server.history.exportAudit({ runId, includeSnapshots: false }));
  const file = join(proven.folder, 'twice.audit');
  await writeFile(file, Buffer.concat(chunks.map(({ chunk }) => chunk)));
  const { runs } = await checkAuditBundle(file);
  expect(runs).toMatchObject([
    { ownSteps: Number(step), replays: { agreeing: Number(step), byOtherEngine: 0, differing: 0, engines: [''] } },
  ]);
});

test('a flipped byte in a snapshot on the disk is found and named', async () => {
  const path = proven.artifacts.pathOf!(proven.run.stateDigest);
  const whole = await readFile(path);
  const damaged = Buffer.from(whole);
  damaged[damaged.byteLength >> 1]! ^= 1;
  await writeFile(path, damaged);
  expect(failures(await verify()).map(({ subject }) => subject)).toContain(`artifact ${proven.run.stateDigest}`);
  await writeFile(path, whole);
  expect(failures(await verify())).toEqual([]);
});

test('a bundle is checked offline, snapshots included; it says who instructed; a damaged one is refused', async () => {
  const file = join(proven.folder, 'run.audit');
  const chunks = await collect(server.history.exportAudit({ runId: proven.run.runId, includeSnapshots: true }));
  const bundle = Buffer.concat(chunks.map(({ chunk }) => chunk));
  await writeFile(file, bundle);
  const report = await checkAuditBundle(file);
  expect(report.problems).toEqual([]);
  expect(report.artifacts).toBeGreaterThan(proven.run.teacherCount);
  expect(report.manifest).toMatchObject({ runId: proven.run.runId, stateDigest: proven.run.stateDigest, missingSnapshots: [] });
  expect(report.instructions[0]).toMatchObject({ fromStep: 0, teacher: 'intact model' });
  bundle[bundle.byteLength >> 1]! ^= 1;
  await writeFile(file, bundle);
  expect((await checkAuditBundle(file)).ok).toBe(false);
});

test('the heads and units that a state rounded by groups keeps are those that the engine counted', async () => {
  const open = openUnitsOf(await proven.artifacts.get(proven.run.stateDigest));
  expect(open.heads.map(({ size }) => size)).toEqual(proven.run.layers.map(({ headsOpen }) => headsOpen));
  expect(open.units.map(({ size }) => size)).toEqual(proven.run.layers.map(({ unitsOpen }) => unitsOpen));
  expect(open.hidden.size).toBe(proven.run.hiddenOpen);
});

test('family and differences of a fork', async () => {
  const request = v1.ForkRunRequest.fromPartial({
    parentRunId: proven.run.runId,
    from: { $case: 'teacherMark', value: 5 },
    settings: { seed: 99n, totalSteps: 60 },
  });
  const { run: started } = await unary<v1.ForkRunResponse>((cb) => server.runs.forkRun(request, cb));
  const child = await server.completed(started!.runId);
  const lineage = await unary<v1.GetLineageResponse>((cb) => server.runs.getLineage({ runId: child.runId }, cb));
  expect(lineage.ancestors).toEqual([proven.run.runId]);
  expect(lineage.tree.map(({ runId, depth }) => [runId, depth])).toEqual([
    [proven.run.runId, 0],
    [child.runId, 1],
  ]);
  const difference = await unary<v1.CompareRunsResponse>((cb) =>
    server.runs.compareRuns({ leftRunId: proven.run.runId, rightRunId: child.runId }, cb),
  );
  expect(difference.settings.map(({ field }) => field)).toEqual(expect.arrayContaining(['settings.seed', 'settings.total_steps']));
  expect(difference).toMatchObject({ commonAncestorRunId: proven.run.runId, commonStep: child.forkedAtStep });
  for (const { layer, headsOnlyLeft, headsOnlyRight, unitsOnlyLeft, unitsOnlyRight } of difference.layers) {
    const [left, right] = [proven.run.layers[layer]!, child.layers[layer]!];
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
    [1, 2, 3, 4, 5].map((mark) => [mark, proven.run.runId]),
  );
});

test('artifacts: what one is, and its bytes from an offset', async () => {
  const stat = await unary<v1.StatArtifactResponse>((cb) => server.artifacts.statArtifact({ digest: proven.run.stateDigest }, cb));
  expect(stat.mediaType).toBe('application/x-safetensors');
  const whole = await readFile(proven.artifacts.pathOf!(proven.run.stateDigest));
  for (const offset of [0n, 1000n, stat.bytes]) {
    const messages = await collect(server.artifacts.downloadArtifact({ digest: proven.run.stateDigest, offset }));
    expect(messages[0]?.totalBytes).toBe(stat.bytes);
    expect(Buffer.compare(Buffer.concat(messages.map(({ chunk }) => chunk)), whole.subarray(Number(offset)))).toBe(0);
  }
  const refused = async (digest: string, offset: bigint): Promise<string> =>
    collect(server.artifacts.downloadArtifact({ digest, offset })).then(() => 'sent', codeOf);
  expect(await refused('a'.repeat(64), 0n)).toBe('ARTIFACT_NOT_FOUND');
  expect(await refused('../etc/passwd', 0n)).toBe('ARTIFACT_DIGEST_INVALID');
  expect(await refused(proven.run.stateDigest, stat.bytes + 1n)).toBe('FIELD_OUT_OF_RANGE');
});
