// Tests a run whose artifacts lie in a bucket, and buckets that are refused. Faults of a bucket, deaths, and machines that share one are in
// bucket.long.test.ts.
import { v1 } from '#protocol';
import { startS3Server, type S3TestServer } from '../../../libs/artifact-store/src/testing/s3-server.js';
import { bucketEnvironment, describeBucket } from './harness/bucket.js';
import { collect, TestServer, unary } from './harness/server.js';

describeBucket(() => {
  let bucket: S3TestServer;
  let server: TestServer;
  const environment = (prefix: string): Record<string, string> => bucketEnvironment(bucket, prefix);

  beforeAll(async () => {
    bucket = await startS3Server();
    server = TestServer.inNewFolder(environment('one'));
    await server.start();
  });
  afterAll(async () => {
    await server.dispose();
    await bucket.stop();
  });

  it('hold a whole run, which is computed again from the states there', async () => {
    const { runId } = await server.launch({});
    expect((await server.completed(runId)).restarts).toBe(0);
    const replay = v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: 100n });
    expect((await collect(server.history.verifyRun(replay))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    const usage = await unary<v1.GetDiskUsageResponse>((done) => server.artifacts.getDiskUsage({}, done));
    expect(usage.artifactsBytes).toBeGreaterThan(0n);
    expect(usage.availableBytes).toBeUndefined(); // a bucket tells no free space
  });

  it('are not opened by the server of another event store', async () => {
    const stranger = TestServer.inNewFolder(environment('one'));
    await expect(stranger.start()).rejects.toThrow('ARTIFACTS_OF_ANOTHER_STORE');
    await stranger.dispose();
  });

  it('say at a first start what is wrong', async () => {
    const nowhere = TestServer.inNewFolder({ ...environment('one'), ESPALIER_ARTIFACTS: 's3://nowhere' });
    await expect(nowhere.start()).rejects.toThrow('ARTIFACT_STORE_NOT_FOUND');
    await nowhere.dispose();
  });
});
