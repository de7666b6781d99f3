// Tests a whole short run on the CUDA backend, over the emulator of the native tests. The orchestrator, the event store and the engine are
// the real ones, and the kernels and the queue are those that a card runs.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, CORPUS, TestServer } from './harness/server.js';

const ADDON = fileURLToPath(new URL('../../../../native-engine/build/espalier_native_emulated.node', import.meta.url));
// One device instruction takes many of the host's, so the run has only as many steps and tokens as each kind of teacher needs.
const RUN: Partial<v1.RunSettings> = {
  targetSparsity: 0.04,
  totalSteps: 8,
  warmupSteps: 5,
  batchSize: 1,
  sequenceLength: 16,
  loraRank: 4,
  segmentSteps: 2,
  snapshotInterval: 0.01,
  teacherGapMarks: 1,
  evaluationWindow: 16,
};

describe('a run on an emulated card', () => {
  const env: Record<string, string> = { ESPALIER_NATIVE_ADDON: ADDON, ESPALIER_DEVICE: 'emulated' };
  const server = TestServer.inNewFolder(env);
  const faults = mkdtempSync(join(tmpdir(), 'espalier-faults-'));
  const validationPath = join(server.dataFolder, 'validation.jsonl');
  const launch = (settings: Partial<v1.RunSettings> = {}): Promise<v1.Run> =>
    server.launch({ ...RUN, ...settings }, { data: { trainPath: CORPUS, validationPath } });
  const disturbed = (settings: Partial<v1.RunSettings>): Promise<v1.Run> =>
    server.disturbed({ launch: () => launch(settings), when: ({ step }) => step > 3n, by: () => server.killAll() });
  const textOf = async (runId: string): Promise<string> => {
    const request = v1.GenerateRequest.fromPartial({ runId, prompts: ['The city'], maxTokens: 4 });
    return (await collect(server.runs.generate(request))).flatMap(({ pieces }) => pieces.map(({ text }) => text)).join('');
  };

  beforeAll(async () => {
    Object.assign(env, { ESPALIER_EMULATED_FAULTS: faults });
    await server.start();
    writeFileSync(validationPath, `${JSON.stringify({ text: 'The capital of the country is a city by the sea, with a harbour.' })}\n`);
  });
  afterAll(async () => {
    await server.dispose();
    rmSync(faults, { recursive: true });
  });

  it('takes a batch in parts with bits of their own, the same where all is killed on the way', async () => {
    const parts = { batchSize: 2, microShards: 2, totalSteps: 6, warmupSteps: 4 };
    const done = await server.completed((await launch(parts)).runId);
    const again = await disturbed(parts);
    expect([again.stateDigest, again.restarts > 0, again.settings?.microShards]).toEqual([done.stateDigest, true, 2]);
    expect(recordProblems(await server.events(again.runId))).toEqual([]);

    // A kernel's failure takes the card from the whole process. Another engine goes on, and the record says what failed.
    const fail = (): Promise<void> => writeFile(join(faults, 'adamw'), '');
    const after = await server.disturbed({ launch: () => launch(parts), when: ({ step }) => step > 2n, by: fail });
    expect([after.stateDigest, after.restarts]).toEqual([done.stateDigest, 1]);
    const lost = (await server.events(after.runId)).find(({ type }) => type === 'EngineLost')!;
    expect(lost.dataJson).toMatch(/"code":"DEVICE_LOST".*kernel adamw was made to fail.*Launched since the last wait: /);

    // The same holds for the failure of a card that helps another one, in the middle of a step.
    await server.kill('engine', 'store');
    env['ESPALIER_DEVICE'] = 'emulated+emulated:1';
    await server.start();
    const failHelper = (): Promise<void> => writeFile(join(faults, '1.rmsnorm_backward'), '');
    const helped = await server.disturbed({ launch: () => launch(parts), when: ({ step }) => step > 2n, by: failHelper });
    expect([helped.stateDigest, helped.restarts]).toEqual([done.stateDigest, 1]);
    const lostHelper = (await server.events(helped.runId)).find(({ type }) => type === 'EngineLost')!;
    expect(lostHelper.dataJson).toMatch(/"code":"DEVICE_LOST".*kernel rmsnorm_backward was made to fail/);
  });

  it('has several teachers, and ends in the same bits with streamed weights where all is killed on the way', async () => {
    const done = await server.completed((await launch()).runId);
    const events = await server.events(done.runId);
    expect(recordProblems(events)).toEqual([]);
    expect(done.engine).toMatch(/^emulated /);
    const teachers = events
      .filter(({ type }) => type === 'TeacherAssigned')
      .map(({ dataJson }) => (JSON.parse(dataJson) as Assigned).teacher);
    expect(new Set(teachers.map((teacher) => JSON.stringify(teacher))).size).toBeGreaterThan(2);

    const again = await disturbed({ streamWeights: true });
    const { runId } = again;
    expect([again.stateDigest, again.restarts > 0, again.settings?.streamWeights]).toEqual([done.stateDigest, true, true]);
    expect(again.evaluations.map(({ perplexity }) => perplexity)).toEqual(done.evaluations.map(({ perplexity }) => perplexity));
    expect(await textOf(runId)).toBe(await textOf(done.runId));
    const exported = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, format: 'masked', dtype: 'f32' })));
    expect(exported.at(-1)!.export!.proof!.loaders[0]).toMatchObject({ loader: "Espalier's own reader", outcome: 'agrees' });

    await server.stop();
    Object.assign(env, { ESPALIER_ENGINES: '2', ESPALIER_DEVICE: 'cpu,emulated' });
    await server.start();
    const replay = v1.VerifyRunRequest.fromPartial({ runId: again.runId, replay: true, fromStep: 0n, toStep: 1n });
    const [replayed, summary] = (await collect(server.history.verifyRun(replay))).slice(-2);
    expect(replayed).toMatchObject({ check: 'replay', ok: true, detail: expect.stringContaining('bit for bit') as string });
    expect(summary).toMatchObject({ summary: { ok: true, numericsFingerprint: done.numericsFingerprint } });
  });
});

interface Assigned {
  teacher: unknown;
}
