// Data folders of releases, opened by this build: all that they recorded stays, a run that ended is exported in the same bytes, and a run
// that was under way when the old server was killed goes on.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, isOver, TestServer } from './harness/server.js';
import { archiveOf, inputs, outcomeOf, PORTABLE, tar, type Released } from './released-folders/released-folder.js';

const KEPT = fileURLToPath(new URL('../../../../testdata/released-folders', import.meta.url));
const files = existsSync(KEPT) ? readdirSync(KEPT) : []; // before the first release none is kept
const versions = files.flatMap((file) => /^(.*)\.tar\.gz$/.exec(file)?.[1] ?? []);

test('each folder that is kept has its outcome beside it, and nothing else is there', () => {
  expect(files.toSorted()).toEqual(versions.flatMap((version) => [`${version}.json`, `${version}.tar.gz`]).toSorted());
});

const whereKept = versions.length === 0 ? test.skip.each(['that is kept']) : test.each(versions);
whereKept('the folder of release %s opens; its ended run is whole, and its run under way ends', async (version) => {
  const { ended, underWay } = JSON.parse(readFileSync(outcomeOf(version), 'utf8')) as Released;
  const server = TestServer.inNewFolder(PORTABLE);
  try {
    inputs();
    tar('-C', server.dataFolder, '-xzf', archiveOf(version));
    await server.start();

    const { stateDigest, hardSparsity, teacherCount, status } = await server.run(ended.runId);
    expect({ stateDigest, hardSparsity, teachers: teacherCount }).toEqual({
      stateDigest: ended.stateDigest,
      hardSparsity: ended.hardSparsity,
      teachers: ended.teachers,
    });
    expect(status).toBe(v1.RunStatus.RUN_STATUS_COMPLETED);
    const events = await server.events(ended.runId);
    expect(events.length).toBeGreaterThanOrEqual(ended.events);
    expect(recordProblems(events)).toEqual([]);
    const request = v1.ExportRunRequest.fromPartial({ runId: ended.runId, form: 'compacted', dtype: 'f32' });
    expect((await collect(server.runs.exportRun(request))).at(-1)!.export!.digest).toBe(ended.exportDigest);

    // With another engine its numerics may differ: then it waits until that is accepted.
    const isPaused = ({ status: now }: v1.Run): boolean => now === v1.RunStatus.RUN_STATUS_PAUSED;
    const met = await server.until(underWay.runId, (run) => isPaused(run) || isOver(run));
    if (isPaused(met)) await server.resume(underWay.runId, { acceptOtherNumerics: true });
    const run = await server.completed(underWay.runId);
    const hasEqualNumerics = run.numericsFingerprint === underWay.fingerprint;
    if (hasEqualNumerics) expect(run.stateDigest).toBe(underWay.stateDigest);
    const record = await server.events(underWay.runId);
    expect(recordProblems(record, underWay.events as v1.HistoryEvent[])).toEqual([]);
    // This build computes the steps of the release too: in equal bits where the numerics are equal, else to rounding.
    const replay = { runId: run.runId, replay: true, toStep: 40n, ...(hasEqualNumerics ? {} : { tolerance: 1e-3 }) };
    const { summary } = (await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial(replay)))).at(-1)!;
    expect(summary).toMatchObject({ ok: true, problems: [] });
    expect(summary!.replayedSteps).toBeGreaterThan(0n);
  } finally {
    await server.dispose();
  }
});
