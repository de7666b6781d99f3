// Tests what a client can do with a run, on the real orchestrator, event store and engine with the tiny model.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '@grpc/grpc-js';
import { v1 } from '#protocol';
import { idOfRequest } from '../src/event-sourcing/event-ids.js';
import { checkHealth } from '../src/engines/wire/engine-health.js';
import { reflectedServices } from './harness/reflection.js';
import { codeOf, collect, TINY_MODEL, unary } from './harness/server.js';
import { completedRun } from './harness/completed-run.js';
import { comparable, recordProblems } from './harness/record-checks.js';
import { expectMasksAsRecorded } from './harness/recorded-masks.js';

const { RUN_STATUS_COMPLETED } = v1.RunStatus;

describe('a run', () => {
  const first = completedRun({}, { requestId: 'first', name: 'first' });
  const { server } = first;

  const refused = async (call: Promise<unknown>): Promise<string> => call.then(() => 'accepted', codeOf);
  const cancel = (runId: string) => unary<v1.CancelRunResponse>((cb) => server.runs.cancelRun({ runId, reason: 'test' }, cb));
  const plan = (settings: Partial<v1.RunSettings>, modelPath = TINY_MODEL, forDevice = '') =>
    unary<v1.PlanRunResponse>((cb) =>
      server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath, settings: { preset: 'short', ...settings }, forDevice }), cb),
    );
  const fork = (request: Partial<v1.ForkRunRequest>) =>
    unary<v1.ForkRunResponse>((cb) => server.runs.forkRun(v1.ForkRunRequest.fromPartial(request), cb));

  it('trains to its end, is evaluated, and leaves a whole record', async () => {
    expect(first.run).toMatchObject({ step: 120n, teacherCount: 19, status: RUN_STATUS_COMPLETED });
    expect(first.run.expectedSparsity).toBeGreaterThan(0.15);
    expect(first.run.evaluations.map((one) => one.subject)).toEqual(['intact', 'masked']);
    const events = await server.events(first.run.runId);
    expect(recordProblems(events)).toEqual([]);
    expect(events[events.length - 1]!.type).toBe('RunCompleted');
  });

  it('is launched once for one request id, and refused for another request with it', async () => {
    const again = await server.launch({}, { requestId: 'first', name: 'first' });
    expect(again.runId).toBe(first.run.runId);
    expect(await refused(server.launch({ totalSteps: 7 }, { requestId: 'first', name: 'first' }))).toBe('REQUEST_ID_REUSED');
  });

  it('gives the same state for the same settings, also when it is paused and resumed', async () => {
    const { stateDigest } = await server.disturbed({
      launch: () => server.launch({}),
      when: ({ step }) => step > 20n,
      by: async (runId) => {
        if (!(await server.pause(runId))) return false;
        await server.resume(runId);
        return true;
      },
    });
    expect(stateDigest).toBe(first.run.stateDigest);
  });

  it('is forked from a teacher and ends where its parent did; the parent is untouched', async () => {
    const before = await server.events(first.run.runId);
    const { run } = await fork({ parentRunId: first.run.runId, from: { $case: 'teacherMark', value: 7 }, requestId: 'fork' });
    expect(
      (await fork({ parentRunId: first.run.runId, from: { $case: 'teacherMark', value: 7 }, requestId: 'fork' })).alreadyLaunched,
    ).toBe(true);
    const child = await server.completed(run!.runId);
    expect(child.stateDigest).toBe(first.run.stateDigest);
    expect(child.parentRunId).toBe(first.run.runId);
    expect(await server.events(first.run.runId)).toEqual(before);
  });

  it('is rewound to a teacher and ends in the same state again', async () => {
    const again = await server.disturbed({
      launch: () => server.launch({}),
      when: ({ teacherCount }) => teacherCount > 8,
      by: async (runId) => {
        await cancel(runId);
        await server.resume(runId, { from: { $case: 'teacherMark', value: 3 } });
        return true;
      },
    });
    expect(again).toMatchObject({ stateDigest: first.run.stateDigest, rewinds: 1 });
    expect(recordProblems(await server.events(again.runId))).toEqual([]);
    await expectMasksAsRecorded(server, again.runId);
  });

  it('is forked with what a fork may change, and refused what it may not, by name', async () => {
    const from = { $case: 'lastState', value: true } as const;
    const changed = v1.RunSettings.fromPartial({ totalSteps: 140, targetSparsity: 0.25, seed: 9n });
    const child = await server.completed((await fork({ parentRunId: first.run.runId, from, settings: changed })).run!.runId);
    expect(child).toMatchObject({ step: 140n, settings: { targetSparsity: 0.25, seed: 9n } });
    const settings = v1.RunSettings.fromPartial({ loraRank: 4, batchSize: 16 });
    await expect(fork({ parentRunId: first.run.runId, from, settings })).rejects.toMatchObject({
      violations: [
        { field: 'settings.batch_size', code: 'FORK_FIELD_FIXED' },
        { field: 'settings.lora_rank', code: 'FORK_FIELD_FIXED' },
      ],
    });
    expect(await refused(fork({ parentRunId: first.run.runId, from }))).toBe('FIELD_OUT_OF_RANGE'); // no steps are left
    expect(await refused(fork({ parentRunId: first.run.runId, from: { $case: 'teacherMark', value: 99 } }))).toBe('TEACHER_NOT_FOUND');
    expect(await refused(fork({ parentRunId: 'aaaaaaaaaaaa', from }))).toBe('RUN_NOT_FOUND');
  });

  it('is exported for llama.cpp, which reads the file where it is installed, and the export keeps its perplexity', async () => {
    const messages = await collect(
      server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: first.run.runId, format: 'gguf', dtype: 'f32' })),
    );
    const { digest, files, format, proof } = messages.at(-1)!.export!;
    expect({ format, files }).toEqual({ format: 'gguf', files: expect.arrayContaining(['model.gguf']) as string[] });
    expect(proof!.loaders[0]).toMatchObject({ loader: "Espalier's own reader", outcome: 'agrees' });
    expect(proof!.loaders.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    const masked = first.run.evaluations.find((one) => one.subject === 'masked')!;
    const evaluated = await collect(
      server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId: first.run.runId, exportDigest: digest })),
    );
    expect(evaluated.at(-1)!.evaluation!.negativeLogLikelihood).toBeCloseTo(masked.negativeLogLikelihood, 4);
  });

  it('is evaluated on other text, by the name of its column', async () => {
    const { writeFileSync } = await import('node:fs');
    const dataPath = `${server.dataFolder}-other.csv`;
    writeFileSync(dataPath, `title,content\n${'one,"Once upon a time there was a house by the sea."\n'.repeat(200)}`);
    const evaluate = async (request: Partial<v1.EvaluateRunRequest>): Promise<v1.Evaluation> => {
      const full = v1.EvaluateRunRequest.fromPartial({ runId: first.run.runId, dataPath, ...request });
      return (await collect(server.runs.evaluateRun(full))).at(-1)!.evaluation!;
    };
    const evaluation = await evaluate({ textColumn: 'content' });
    expect(evaluation).toMatchObject({ dataPath, headline: false });
    expect(evaluation.perplexity).toBeGreaterThan(1);
    expect(await refused(evaluate({}))).toBe('DATA_MALFORMED');
    expect(await refused(evaluate({ dataPath: '', textColumn: 'content' }))).toBe('REQUEST_INVALID');
  });

  it('is evaluated by a job of the server, which needs no client that waits', async () => {
    const start = (value: Partial<v1.EvaluateRunRequest>): Promise<v1.StartJobResponse> =>
      unary((cb) =>
        server.runs.startJob(
          { work: { $case: 'evaluate', value: v1.EvaluateRunRequest.fromPartial({ runId: first.run.runId, ...value }) } },
          cb,
        ),
      );
    await expect(start({ window: 1 })).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE', field: 'evaluate.window' });
    await expect(start({ runId: 'nowhere' })).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' });
    await expect(unary<v1.StartJobResponse>((cb) => server.runs.startJob({ work: undefined }, cb))).rejects.toMatchObject({
      code: 'FIELD_REQUIRED',
      field: 'work',
    });
    const { job } = await start({ intact: true, window: 16 });
    expect(job).toMatchObject({ runId: first.run.runId, state: v1.JobState.JOB_STATE_RUNNING, request: { work: { $case: 'evaluate' } } });
    const jobs = (): Promise<v1.ListJobsResponse> => unary((cb) => server.runs.listJobs({ runId: first.run.runId }, cb));
    let [ended] = (await jobs()).jobs;
    for (; ended?.endedAt === undefined; [ended] = (await jobs()).jobs) await sleep(50);
    expect(ended).toMatchObject({ jobId: job!.jobId, state: v1.JobState.JOB_STATE_DONE, evaluations: [{ subject: 'intact', window: 16 }] });
    expect((await server.run(first.run.runId)).evaluations.some(({ window }) => window === 16)).toBe(true);
    const cancel = (jobId: string): Promise<v1.CancelJobResponse> => unary((cb) => server.runs.cancelJob({ jobId }, cb));
    expect((await cancel(job!.jobId)).job!.state).toBe(v1.JobState.JOB_STATE_DONE);
    await expect(cancel('nowhere')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('throws away states that nothing needs', async () => {
    const { readdirSync, readFileSync } = await import('node:fs');
    const folder = `${server.dataFolder}/artifacts/objects`;
    const storedStates = (): string[] =>
      readdirSync(folder)
        .flatMap((shard) => readdirSync(`${folder}/${shard}`).map((name) => `${folder}/${shard}/${name}`))
        .filter((path) => readFileSync(path).subarray(0, 65_536).includes('lora_A'));
    const recorded = new Set<string>();
    const runs = await unary<v1.ListRunsResponse>((cb) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), cb));
    for (const run of runs.runs) {
      for (const event of await server.events(run.runId))
        for (const [digest] of event.dataJson.matchAll(/(?<="stateDigest":")[0-9a-f]{64}/g)) recorded.add(digest);
    }
    // The last segment of a cancelled run may still be on its way into the store, and out again.
    const unrecorded = (): string[] =>
      storedStates()
        .map((path) => path.slice(-64))
        .filter((digest) => !recorded.has(digest));
    for (const until = Date.now() + 60_000; unrecorded().length > 0 && Date.now() < until;) await sleep(50);
    expect(unrecorded()).toEqual([]);
    expect(storedStates().length).toBeLessThan(recorded.size * 0.8);
    expect(storedStates().map((path) => path.slice(-64))).toContain(first.run.stateDigest);
  });

  it('names every bad field of a launch, and whatever is wrong with model and data', async () => {
    await expect(server.launch({ targetSparsity: 0.99, batchSize: 0 }, { name: 'x'.repeat(201), modelPath: '' })).rejects.toMatchObject({
      violations: expect.arrayContaining([
        expect.objectContaining({ field: 'model_path' }),
        expect.objectContaining({ field: 'name' }),
      ]) as unknown,
    });
    await expect(server.launch({ targetSparsity: 0.99, batchSize: 0 })).rejects.toMatchObject({
      violations: [{ field: 'settings.target_sparsity' }, { field: 'settings.batch_size' }],
    });
    await expect(server.launch({ sequenceLength: 513 })).rejects.toMatchObject({
      code: 'SEQUENCE_TOO_LONG',
      field: 'settings.sequence_length',
    });
    const { mkdtempSync, writeFileSync } = await import('node:fs');
    const empty = `${mkdtempSync(`${server.dataFolder}/data-`)}/empty.jsonl`;
    writeFileSync(empty, '');
    const data = { trainPath: empty, validationPath: '' };
    await expect(server.launch({}, { data })).rejects.toMatchObject({ code: 'DATA_EMPTY', field: 'data.train_path' });
    await expect(server.launch({}, { modelPath: '/nowhere' })).rejects.toMatchObject({ field: 'model_path' });
  });

  it('tells before a launch what the run would be and take, and refuses what would not fit', async () => {
    const small = await plan({ batchSize: 3 });
    expect(small.settings).toMatchObject({ batchSize: 3, totalSteps: 1400, warmupSteps: 420, loraRank: 64 });
    const {
      weightsBytes,
      loraBytes,
      optimizerBytes,
      activationsBytes,
      teachersBytes,
      scratchBytes,
      processBytes,
      totalBytes,
      availableBytes,
    } = small.memory!;
    expect(totalBytes).toBe(weightsBytes + loraBytes + optimizerBytes + activationsBytes + teachersBytes + scratchBytes + processBytes);
    expect(totalBytes).toBeLessThan(availableBytes);
    const large = { batchSize: 4096, sequenceLength: 512, loraRank: 1024 };
    const { memory } = await plan(large);
    expect(memory!.totalBytes).toBeGreaterThan(memory!.availableBytes);
    expect(memory!.change).toMatchObject({ batchSize: 4096 }); // the method stays the same
    const { checkpointActivations, microShards, sequenceLength } = memory!.change!;
    const proposed = (await plan({ ...large, checkpointActivations, microShards, sequenceLength })).memory!;
    expect(proposed.totalBytes).toBe(memory!.change!.totalBytes); // the proposal is the engine's own answer
    expect(proposed.totalBytes).toBeLessThan(memory!.availableBytes);
    const onCard = await plan({}, TINY_MODEL, 'h100-80gb');
    expect(onCard.card).toMatchObject({ name: 'h100-80gb', peakFlops: 989e12, changeSeconds: undefined });
    expect(onCard.card!.seconds).toBeGreaterThan(0);
    expect(onCard.memory!.totalBytes).toBeLessThan(onCard.memory!.availableBytes);
    await expect(server.launch(large, { requestId: 'large' })).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      field: 'settings.batch_size',
    });
    expect(await refused(server.run(idOfRequest('run', 'large')))).toBe('RUN_NOT_FOUND');
    expect(await refused(plan({}, ''))).toBe('FIELD_REQUIRED');
    expect(await refused(plan({ batchSize: 0 }))).toBe('FIELD_OUT_OF_RANGE');
  });

  it('is refused what its status does not allow', async () => {
    expect(await refused(server.resume(first.run.runId))).toBe('RUN_FINISHED');
    expect(await refused(cancel(first.run.runId))).toBe('RUN_FINISHED');
    expect(await refused(server.run('zzzzzz'))).toBe('RUN_NOT_FOUND');
  });

  it('is served with health checks and reflection', async () => {
    await checkHealth(server.runs.getChannel(), 60_000);
    expect(await reflectedServices(server.runs.getChannel() as Channel)).toEqual(
      expect.arrayContaining(['espalier.v1.RunService', 'espalier.v1.HistoryService', 'espalier.v1.ArtifactService']),
    );
  });

  it('has views that equal a rebuild', async () => {
    const before = comparable(await server.run(first.run.runId));
    await collect(server.history.rebuildViews({}));
    expect(comparable(await server.run(first.run.runId))).toEqual(before);
  });
});
