// Tests states in many small slices with the real processes: a whole run with own weights, deaths in recovery, forks, proofs, exports, an
// engine that shares no folder, and a bucket. Lengths above 4 GiB are in the tests of the store and of the core.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkAuditBundle } from '#audit';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import { startS3Server, type S3TestServer } from '../../../libs/artifact-store/src/testing/s3-server.js';
import { bucketEnvironment, describeBucket } from './harness/bucket.js';
import { isIdle, JoiningEngine, listedUntil, serverWithoutEngines, tokenIn } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { expectExportsOfItsPerplexity, Forks } from './harness/recovery.js';
import { collect, TestServer } from './harness/server.js';

const SLICES = { ESPALIER_SLICE_BYTES: '32768' };
const RECOVERING = {
  totalSteps: 40,
  recoverSteps: 20,
  recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_ALL,
  recoverLearningRate: 0.001,
  recoverLmLossWeight: 0,
  recoverKlLossWeight: 1,
};
const FIRST = 40n; // the first step of recovery

/** The bits of the run's masks and losses do not depend on how its states are kept; the digests of its states do. */
const endOf = ({ evaluations }: v1.Run): number => evaluations.find((one) => one.subject === 'masked')!.perplexity;
const whole = async (server: TestServer, runId: string): Promise<unknown> => {
  const verdicts = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: FIRST - 20n })));
  return verdicts.at(-1)!.summary;
};

describe('on one machine', () => {
  const server = TestServer.inNewFolder(SLICES);
  const { forked } = new Forks(server);
  let artifacts: ArtifactStore;
  let done: v1.Run;

  beforeAll(async () => {
    await server.start();
    done = await server.completed((await server.launch(RECOVERING)).runId);
    artifacts = await openArtifactStore({ folder: join(server.dataFolder, 'artifacts') });
  });
  afterAll(() => server.dispose());

  it('a run has its states in slices, and goes the same way as with states in one piece', async () => {
    expect((await artifacts.slicesOf(done.stateDigest))!.length).toBeGreaterThan(3);
    expect(recordProblems(await server.events(done.runId))).toEqual([]);
    const plain = TestServer.inNewFolder();
    await plain.start();
    expect(endOf(await plain.completed((await plain.launch(RECOVERING)).runId))).toBe(endOf(done));
    await plain.dispose();
  });

  it.each([FIRST - 2n, FIRST + 10n])('it ends in the same bits where all processes are killed at step %s', async (step) => {
    const again = await server.disturbed({
      launch: () => server.launch(RECOVERING),
      when: (run) => run.step >= step,
      by: () => server.killAll(),
    });
    expect([again.stateDigest, again.restarts > 0]).toEqual([done.stateDigest, true]);
  });

  it('it is computed again, forked, exported and bundled', async () => {
    expect(await whole(server, done.runId)).toMatchObject({ ok: true, problems: [] });
    expect(await forked(done, { recoverSteps: 30 })).toMatchObject({ step: FIRST + 30n, phase: 'recover' });
    await expectExportsOfItsPerplexity(server, done);
    const bundle = join(server.dataFolder, 'bundle.tar');
    const chunks = await collect(server.history.exportAudit({ runId: done.runId, includeSnapshots: true }));
    writeFileSync(bundle, Buffer.concat(chunks.map(({ chunk }) => chunk)));
    expect(await checkAuditBundle(bundle)).toMatchObject({ ok: true, problems: [] });
  });

  it('a damaged slice is found and named', async () => {
    const [slice] = (await artifacts.slicesOf(done.stateDigest))!;
    const path = join(artifacts.pathOf!(done.stateDigest), slice!.digest);
    rmSync(path);
    const verdicts = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: done.runId })));
    expect(verdicts.filter(({ ok }) => !ok).map(({ subject }) => subject)).toContain(`artifact ${done.stateDigest}`);
  });
});

describe('with an engine that shares no folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-sliced-'));
  let server: TestServer;
  const joined = async (name: string): Promise<JoiningEngine> => {
    const tokenFile = await tokenIn(join(folder, `token-${name}`), server.access, v1.Role.ROLE_ENGINE, name);
    const args = ['--join', server.listenAddress, '--token-file', tokenFile, '--name', name, '--scratch', join(folder, name)];
    const engine = new JoiningEngine(args, { env: SLICES });
    await listedUntil(server, isIdle(name));
    return engine;
  };
  afterEach(async () => {
    await JoiningEngine.endAll();
    await server.dispose();
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('states are fetched from its disk, and given to the next engine after its death', async () => {
    server = await serverWithoutEngines('127.0.0.1', [], 3, SLICES);
    const first = await joined('one');
    const { runId } = await server.launch(RECOVERING);
    await server.until(runId, ({ step }) => step >= FIRST + 5n);
    await first.end('SIGKILL');
    await joined('two');
    const run = await server.completed(runId);
    expect(run.restarts).toBeGreaterThan(0);
    expect(recordProblems(await server.events(runId))).toEqual([]);
    expect(await server.problemsOf(runId)).toEqual([]);
    const undisturbed = await server.completed((await server.launch(RECOVERING)).runId);
    expect(undisturbed.stateDigest).toBe(run.stateDigest);
  });

  describeBucket(() => {
    let bucket: S3TestServer;
    beforeAll(async () => {
      bucket = await startS3Server();
    });
    afterAll(() => bucket.stop());

    it('its slices go to a bucket and come from there', async () => {
      server = await serverWithoutEngines('127.0.0.1', [], 3, { ...SLICES, ...bucketEnvironment(bucket, 'sliced') });
      const first = await joined('three');
      const { runId } = await server.launch(RECOVERING);
      await server.until(runId, ({ step }) => step >= FIRST + 5n);
      await first.end('SIGKILL');
      await joined('four');
      await server.completed(runId);
      expect(await server.problemsOf(runId)).toEqual([]);
    });
  });
});
