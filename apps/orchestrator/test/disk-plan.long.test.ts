// Tests with real processes that a plan names the disk and the memory which the run then takes.
import { readFileSync } from 'node:fs';
import { v1 } from '#protocol';
import { FACTBOOK_MODEL, FACTBOOK_VALIDATION, TestServer, TRAINING_DATA, unary } from './harness/server.js';

const usage = (server: TestServer): Promise<v1.GetDiskUsageResponse> =>
  unary<v1.GetDiskUsageResponse>((done) => server.artifacts.getDiskUsage({}, done));
/** A plan counts states, events and views. */
const counted = ({ statesBytes, eventStoreBytes, viewsBytes }: v1.GetDiskUsageResponse): number =>
  Number(statesBytes + eventStoreBytes! + viewsBytes);
/** The most memory that a process had. */
const mostMemory = (pid: number): number => 1_024 * Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

test.each<Partial<v1.RunSettings>>([
  { preset: 'fisher', recoverSteps: 60, segmentSteps: 30, evaluationTokens: 512 },
  { preset: 'nuteprune2', totalSteps: 120, targetSparsity: 0.12, recoverSteps: 60, segmentSteps: 30, evaluationTokens: 512 },
])('a run takes the disk that its plan names, within 10%, and the memory within 30%: %p', async (settings) => {
  const server = TestServer.inNewFolder();
  try {
    await server.start();
    const request = v1.PlanRunRequest.fromPartial({ modelPath: FACTBOOK_MODEL, settings });
    const { disk, memory } = await unary<v1.PlanRunResponse>((done) => server.runs.planRun(request, done));
    expect(disk!.isMost).toBe(false);
    const before = counted(await usage(server));
    const data = { trainPath: TRAINING_DATA, validationPath: FACTBOOK_VALIDATION, maxTrainTokens: 100_000n };
    const launch = v1.LaunchRunRequest.fromPartial({ modelPath: FACTBOOK_MODEL, data, settings });
    const { run } = await unary<v1.LaunchRunResponse>((done) => server.runs.launchRun(launch, done));
    await server.completed(run!.runId);
    const used = counted(await usage(server)) - before;
    expect(Number(disk!.totalBytes) / used).toBeGreaterThan(0.9);
    expect(Number(disk!.totalBytes) / used).toBeLessThan(1.1);
    const engines = server.pidsOf('engine').map(mostMemory); // one of them only answers questions
    expect(Number(memory!.totalBytes) / Math.max(...engines)).toBeGreaterThan(0.8);
    expect(Number(memory!.totalBytes) / Math.max(...engines)).toBeLessThan(1.3);
  } finally {
    await server.dispose();
  }
});
