// Tests a fleet on a stand-in for a Kubernetes cluster. When jobs are deleted, lost or refused, or the API is away, runs must go on and end
// with the bits of an undisturbed one, and no job may be left over.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programFile } from '#files';
import { v1 } from '#protocol';
import { TestKubernetes } from './harness/kubernetes.js';
import { recordProblems } from './harness/record-checks.js';
import { isEmpty, TestServer } from './harness/server.js';

const RUN: Partial<v1.RunSettings> = { totalSteps: 240, warmupSteps: 120 };
/** A run for all that does not depend on what happens on its way. */
const SHORT: Partial<v1.RunSettings> = { totalSteps: 60, warmupSteps: 30 };
const ENGINE = programFile(new URL('../../engine/src/main.js', import.meta.url));
const cluster = new TestKubernetes();
let server: TestServer;
let alone: string;
let shortAlone: string;

beforeAll(async () => {
  const local = TestServer.inNewFolder();
  await local.start();
  alone = (await local.completed((await local.launch(RUN)).runId)).stateDigest;
  shortAlone = (await local.completed((await local.launch(SHORT)).runId)).stateDigest;
  await local.dispose();
  await cluster.start();
  server = TestServer.inNewFolder();
  const port = 20_000 + (process.pid % 20_000);
  const file = join(cluster.folder, 'fleet.yaml');
  const command = JSON.stringify([process.execPath, ENGINE]);
  writeFileSync(
    file,
    `kind: kubernetes\nmax_engines: 2\ncpus: 1\nidle_seconds: 12\npoll_seconds: 1\njoin: 127.0.0.1:${port}\nimage: espalier:test\n` +
      `memory_gb: 1\ncommand: ${command}\nkubeconfig: ${cluster.kubeconfig}\n`,
  );
  server.options = ['--listen', `127.0.0.1:${port}`, '--fleet', file];
  await server.start();
});

afterAll(async () => {
  await server?.dispose();
  await cluster.stop();
});

const jobOf = async (runId: string): Promise<string> => {
  const engine = (await server.engines()).find((one) => one.runId === runId)!.name;
  return (await server.fleetUntil(({ jobs }) => jobs.some((one) => one.engine === engine))).jobs.find((one) => one.engine === engine)!.id;
};
async function endsTheSame(by: (runId: string) => Promise<unknown>): Promise<void> {
  const run = await server.disturbed({
    launch: () => server.launch(RUN),
    when: ({ step }) => step >= 20n,
    by: async (runId) => {
      await by(runId);
      return undefined;
    },
  });
  expect(run.stateDigest).toBe(alone);
  expect(recordProblems(await server.events(run.runId))).toEqual([]);
}

it('a run that waits gets an engine, which ends when nothing is left to do', async () => {
  const run = await server.completed((await server.launch(SHORT)).runId);
  expect(run.stateDigest).toBe(shortAlone);
  const { ended } = await server.fleetUntil(isEmpty);
  expect(ended[0]).toMatchObject({ state: 'Complete', node: 'node-1', joined: true });
});

it('a run goes on in the same bits when its job is deleted, and when its node dies', async () => {
  await endsTheSame(async (runId) => cluster.delete(await jobOf(runId)));
  await endsTheSame(async (runId) => cluster.killNode(await jobOf(runId)));
});

it('a run waits while no node has room, and says so', async () => {
  await server.fleetUntil(isEmpty);
  cluster.room = 0;
  const { runId } = await server.launch(SHORT);
  const { waitsFor } = await server.fleetUntil(({ jobs }) => jobs.some(({ reason }) => reason !== ''));
  expect(waitsFor).toMatch(/^job espalier-kubernetes-[0-9a-f]{8} waits \(Unschedulable: 0\/1 nodes are available: 1 Insufficient cpu\.\)$/);
  cluster.room = 2;
  cluster.schedule();
  expect((await server.completed(runId)).stateDigest).toBe(shortAlone);
});

it('a job that is refused is asked for again after a pause, and the words of the cluster are told; its API may be away', async () => {
  await server.fleetUntil(isEmpty);
  cluster.refusal = { status: 403, message: 'exceeded quota: lab' };
  const { runId } = await server.launch(SHORT);
  const refused = await server.fleetUntil(({ waitsFor }) => waitsFor.includes('quota'));
  expect(refused.waitsFor).toMatch(/^Kubernetes: exceeded quota: lab \(HTTP 403\); the next try is at /);
  await cluster.away();
  await server.fleetUntil(({ waitsFor }) => waitsFor.includes('ECONNREFUSED'));
  cluster.refusal = null;
  await cluster.start();
  expect((await server.completed(runId)).stateDigest).toBe(shortAlone);
  expect(new Set(cluster.refused).size).toBe(cluster.refused.length);
});
