// Tests artifacts in a bucket with the real processes: two machines that share only an event store and a bucket, a bucket that goes away,
// one that refuses, and one that was damaged. An undisturbed run is in bucket.test.ts.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import { v1 } from '#protocol';
import { S3_CREDENTIALS, startS3Server, type S3TestServer } from '../../../libs/artifact-store/src/testing/s3-server.js';
import { bucketEnvironment, describeBucket } from './harness/bucket.js';
import { freePort, isIdle, JoiningEngine, listedUntil, tokenIn } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { killedDriving, TestServer, unary } from './harness/server.js';

const LEASE_SECONDS = 4;
const RUN: Partial<v1.RunSettings> = { totalSteps: 160, warmupSteps: 80 };
const SHORT_RUN: Partial<v1.RunSettings> = { totalSteps: 60, warmupSteps: 30 };

describeBucket(() => {
  let bucket: S3TestServer;
  let undisturbed = '';
  let shortUndisturbed = '';
  const environment = (prefix: string): Record<string, string> => bucketEnvironment(bucket, prefix);

  beforeAll(async () => {
    bucket = await startS3Server();
    const plain = TestServer.inNewFolder();
    await plain.start();
    const endOf = async (settings: Partial<v1.RunSettings>) => (await plain.completed((await plain.launch(settings)).runId)).stateDigest;
    undisturbed = await endOf(RUN);
    shortUndisturbed = await endOf(SHORT_RUN);
    await plain.dispose();
  });
  afterAll(() => bucket.stop());

  describe('on one machine', () => {
    let server: TestServer;
    beforeAll(async () => {
      server = TestServer.inNewFolder(environment('one'));
      await server.start();
    });
    afterAll(() => server.dispose());
    afterEach(() => {
      bucket.fault = () => undefined;
    });

    it('wait while the bucket is away, denies access or is too busy, and the run goes on to the same bits', async () => {
      const { runId } = await server.launch(RUN);
      await server.until(runId, ({ step }) => step >= 20n);
      for (const [fault, code] of [
        ['cut', 'ARTIFACT_STORE_UNAVAILABLE'],
        [{ status: 403, code: 'ExpiredToken' }, 'ARTIFACT_STORE_DENIED'],
        [{ status: 503, code: 'SlowDown' }, 'ARTIFACT_STORE_BUSY'],
      ] as const) {
        bucket.fault = () => fault;
        await server.until(runId, ({ waitingFor }) => waitingFor?.code === code);
        const { artifacts, artifactTrouble } = await unary<v1.GetStoreConditionResponse>((done) =>
          server.history.getStoreCondition({}, done),
        );
        expect({ artifacts, code: artifactTrouble?.code }).toEqual({ artifacts: `s3://${bucket.bucket}/one`, code });
      }
      bucket.fault = () => undefined;
      expect(await server.completed(runId)).toMatchObject({ restarts: 0, stateDigest: undisturbed });
      expect(recordProblems(await server.events(runId))).toEqual([]);
      expect(await server.problemsOf(runId)).toEqual([]);
    });

    it('are found again by a server that starts while the bucket is away: its runs wait, and go on by themselves', async () => {
      const { runId } = await server.launch(RUN);
      await server.until(runId, ({ step }) => step >= 20n);
      bucket.fault = () => 'cut';
      await server.kill();
      await server.start();
      const waiting = await server.until(runId, ({ waitingFor }) => waitingFor !== undefined);
      expect(waiting.waitingFor).toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
      bucket.fault = () => undefined;
      expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
      expect(await server.problemsOf(runId)).toEqual([]);
    });

    it('that were damaged in the bucket are made again, tokens from their text and states by training, to the same bits', async () => {
      const { runId } = await server.launch(RUN);
      await server.until(runId, ({ step }) => step >= 40n);
      await server.kill();
      await bucket.damageAll('one/objects/');
      rmSync(join(server.dataFolder, 'artifact-cache/objects'), { recursive: true });
      await server.start();
      expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
      expect((await server.events(runId)).map(({ type }) => type)).toContain('RunRewound');
    });

    it('leave no credential in the log', () => {
      for (const secret of [S3_CREDENTIALS.AWS_ACCESS_KEY_ID, S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY])
        expect(server.logTail()).not.toContain(secret);
    });
  });

  describe('that an engine which dials in reads and writes by signed addresses', () => {
    const isSigned = (request: string): boolean => request.includes('X-Amz-Signature=');
    let server: TestServer;
    let token: string;
    let engine: JoiningEngine;
    const folder = mkdtempSync(join(tmpdir(), 'espalier-far-'));

    beforeAll(async () => {
      server = TestServer.inNewFolder({ ...environment('far'), ESPALIER_ENGINES: '0', ESPALIER_LEASE_SECONDS: '3' });
      server.options = ['--listen', `127.0.0.1:${await freePort()}`];
      await server.start();
      token = await tokenIn(join(folder, 'token'), server.access, v1.Role.ROLE_ENGINE, 'lab');
      await joined();
    });
    afterEach(() => {
      bucket.fault = () => undefined;
    });
    afterAll(async () => {
      await JoiningEngine.endAll();
      await server.dispose();
      rmSync(folder, { recursive: true, force: true });
    });

    const joined = async (): Promise<void> => {
      engine = new JoiningEngine(['--join', server.listenAddress, '--token-file', token, '--name', 'far']);
      await listedUntil(server, isIdle('far'));
    };
    /** The states that the run's record names. */
    const statesOf = async (runId: string): Promise<string[]> =>
      (await server.events(runId)).flatMap(({ type, dataJson }) =>
        type === 'MasksUpdated' ? [(JSON.parse(dataJson) as { state: { stateDigest: string } }).state.stateDigest] : [],
      );
    const runs = async (): Promise<string> => (await server.launch(SHORT_RUN)).runId;

    it('and no state passes the server, which reads its gates alone; the run ends in the same bits', async () => {
      bucket.requests.length = bucket.reads.length = 0;
      const runId = await runs();
      expect((await server.completed(runId)).stateDigest).toBe(shortUndisturbed);
      const states = await statesOf(runId);
      const ofStates = bucket.requests.filter((request) => states.some((digest) => request.includes(digest)));
      const written = ofStates.filter((request) => request.startsWith('PUT'));
      expect(new Set(written.map((request) => /[0-9a-f]{64}/.exec(request)![0]))).toEqual(new Set(states));
      expect(written.filter((request) => !isSigned(request))).toEqual([]);
      const objects = bucket.reads.filter(({ url }) => !url.includes('?list-type=')); // a list of names has no bytes of a state
      const read = objects.filter(({ url }) => states.some((digest) => url.includes(digest)) && !isSigned(`GET ${url}`));
      expect(read.filter(({ range }) => !/^bytes=\d+-\d+$/.test(range ?? ''))).toEqual([]);
      expect(read.length).toBeLessThanOrEqual(5 * states.length);
      expect(await server.problemsOf(runId)).toEqual([]);
    });

    it('an address that has expired is signed again', async () => {
      let refused = 0;
      bucket.fault = ({ method, url }) => {
        if (method !== 'PUT' || !isSigned(url) || refused > 0) return undefined;
        refused += 1;
        return { status: 403, code: 'AccessDenied' };
      };
      const run = await server.completed(await runs());
      expect({ refused, restarts: run.restarts }).toEqual({ refused: 1, restarts: 0 });
    });

    it('an engine that is killed while it writes a state leaves nothing half, and the next ends the run in the same bits', async () => {
      let hanging = 0;
      bucket.fault = ({ method, url }) => {
        if (method !== 'PUT' || !isSigned(url)) return undefined;
        hanging += 1;
        return 'hang';
      };
      const runId = await runs();
      while (hanging === 0) await sleep(20);
      await engine.end('SIGKILL');
      bucket.fault = () => undefined;
      bucket.requests.length = 0;
      await joined();
      expect((await server.completed(runId)).stateDigest).toBe(shortUndisturbed);
      expect(await server.problemsOf(runId)).toEqual([]);
    });

    it('a server that is killed while a state is written gets it by the next start', async () => {
      const runId = await runs();
      await server.until(runId, ({ step }) => step >= 15n);
      let hanging = 0;
      bucket.fault = ({ method, url }) => {
        if (method !== 'PUT' || !isSigned(url)) return undefined;
        hanging += 1;
        return 'hang';
      };
      while (hanging === 0) await sleep(20);
      await server.kill();
      bucket.fault = () => undefined;
      bucket.requests.length = 0;
      await server.start();
      expect((await server.completed(runId)).stateDigest).toBe(shortUndisturbed);
      expect(bucket.requests.some((request) => request.startsWith('GET') && isSigned(request))).toBe(true);
    });

    it('pass the server where the engine does not reach the bucket, which its log says once', async () => {
      bucket.fault = ({ url }) => (isSigned(url) ? 'cut' : undefined);
      const run = await server.completed(await runs());
      expect(run).toMatchObject({ stateDigest: shortUndisturbed, restarts: 0 });
      expect(server.log.split('Its states pass this server').length - 1).toBe(1);
    });

    it('and no log holds an address', () => {
      expect(engine.log.length).toBeGreaterThan(0);
      for (const log of [server.log, engine.log]) expect(log).not.toMatch(/X-Amz|a-secret-of-the-test/);
    });
  });

  describe('that two machines share', () => {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-shared-'));
    let eventStore: EmbeddedEventStore;
    let servers: TestServer[] = [];

    beforeAll(async () => {
      eventStore = await startEmbeddedEventStore({ folder });
      const shared = { ESPALIER_EVENT_STORE: eventStore.connectionString, ESPALIER_LEASE_SECONDS: String(LEASE_SECONDS) };
      servers = [0, 1].map(() => TestServer.inNewFolder({ ...environment('two'), ...shared }));
      for (const server of servers) await server.start();
    });
    afterAll(async () => {
      for (const server of servers) await server.dispose();
      await eventStore.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    it('let the standby go on from the last recorded state when the driver dies', async () => {
      let seen: v1.HistoryEvent[] = [];
      let recorded = 0n;
      const { run, driver } = await killedDriving(servers, {
        launch: (driver) => driver.launch(RUN),
        when: ({ step }) => step >= 80n,
        before: async (driver, runId) => {
          seen = await driver.events(runId);
          recorded = (await driver.run(runId)).step;
        },
      });
      expect(run.stateDigest).toBe(undisturbed);
      const events = await driver.events(run.runId);
      expect(recordProblems(events, seen)).toEqual([]);
      const started = events
        .filter(({ type }) => type === 'AttemptStarted')
        .map(({ dataJson }) => JSON.parse(dataJson) as { fromStep: number });
      expect(started[1]!.fromStep).toBeGreaterThanOrEqual(Number(recorded));
      expect(events.map(({ type }) => type)).not.toContain('RunRewound');
      expect(await driver.problemsOf(run.runId)).toEqual([]);
      expect(readdirSync(driver.dataFolder)).not.toContain('artifacts');
    });
  });
});
