// Tests a run whose artifacts lie in a bucket, and buckets that are refused. Faults of a bucket, deaths, and machines that share one are in
// bucket.long.test.ts.
import { v1 } from '#protocol';
import { startS3Server, type S3TestServer } from '../../../libs/artifact-store/src/testing/s3-server.js';
import { bucketEnvironment, describeBucket } from './harness/bucket.js';
import { TestServer, unary } from './harness/server.js';

const RUN: Partial<v1.RunSettings> = {};

describeBucket(() => {
  let bucket: S3TestServer;
  let server: TestServer;
  let undisturbed = '';
  const environment = (prefix: string): Record<string, string> => bucketEnvironment(bucket, prefix);

  beforeAll(async () => {
    bucket = await startS3Server();
    const plain = TestServer.inNewFolder();
    await plain.start();
    undisturbed = (await plain.completed((await plain.launch(RUN)).runId)).stateDigest;
    await plain.dispose();
    server = TestServer.inNewFolder(environment('one'));
    await server.start();
  });
  afterAll(async () => {
    await server.dispose();
    await bucket.stop();
  });

  it('end a run in the bits of a run with a folder', async () => {
    const { runId } = await server.launch(RUN);
    const { stateDigest, restarts } = await server.completed(runId);
    expect({ stateDigest, restarts }).toEqual({ stateDigest: undisturbed, restarts: 0 });
    expect(await server.problemsOf(runId)).toEqual([]);
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
