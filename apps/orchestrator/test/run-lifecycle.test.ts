// Tests what a client can do with a run, on the real orchestrator, event store and engine with the tiny model.
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Channel } from '@grpc/grpc-js';
import { v1 } from '#protocol';
import { idOfRequest } from '../src/event-sourcing/event-ids.js';
import { checkHealth } from '../src/engines/wire/engine-health.js';
import { reflectedServices } from './harness/reflection.js';
import { codeOf, collect, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';
import { comparable, recordProblems } from './harness/record-checks.js';

const { RUN_STATUS_COMPLETED, RUN_STATUS_CANCELLED } = v1.RunStatus;

const HAS_LLAMA_CPP = existsSync(fileURLToPath(new URL('../../../../loaders/llama-cpp/node_modules/node-llama-cpp', import.meta.url)));

describe('a run', () => {
  const server = TestServer.inNewFolder();
  let done: v1.Run;

  beforeAll(async () => {
    await server.start();
    const { runId } = await server.launch({}, { requestId: 'first', name: 'first' });
    done = await server.completed(runId);
  });
  afterAll(() => server.dispose());

  const refused = async (call: Promise<unknown>): Promise<string> => call.then(() => 'accepted', codeOf);
  const cancel = (runId: string) => unary<v1.CancelRunResponse>((cb) => server.runs.cancelRun({ runId, reason: 'test' }, cb));
  const plan = (settings: Partial<v1.RunSettings>, modelPath = TINY_MODEL, forDevice = '') =>
    unary<v1.PlanRunResponse>((cb) =>
      server.runs.planRun({ modelPath, settings: v1.RunSettings.fromPartial({ preset: 'short', ...settings }), forDevice }, cb),
    );
  const fork = (request: Partial<v1.ForkRunRequest>) =>
    unary<v1.ForkRunResponse>((cb) => server.runs.forkRun(v1.ForkRunRequest.fromPartial(request), cb));

  it('trains to its end, is evaluated, and leaves a whole record', async () => {
    expect(done).toMatchObject({ step: 120n, teacherCount: 19, status: RUN_STATUS_COMPLETED });
    expect(done.expectedSparsity).toBeGreaterThan(0.15);
    expect(done.evaluations.map((one) => one.subject)).toEqual(['intact', 'masked']);
    const events = await server.events(done.runId);
    expect(recordProblems(events)).toEqual([]);
    expect(events[events.length - 1]!.type).toBe('RunCompleted');
  });

  it('is launched once for one request id, and refused for another request with it', async () => {
    const again = await server.launch({}, { requestId: 'first', name: 'first' });
    expect(again.runId).toBe(done.runId);
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
    expect(stateDigest).toBe(done.stateDigest);
  });

  it('is forked from a teacher and ends where its parent did; the parent is untouched', async () => {
    const before = await server.events(done.runId);
    const { run } = await fork({ parentRunId: done.runId, from: { $case: 'teacherMark', value: 7 }, requestId: 'fork' });
    expect((await fork({ parentRunId: done.runId, from: { $case: 'teacherMark', value: 7 }, requestId: 'fork' })).alreadyLaunched).toBe(
      true,
    );
    const child = await server.completed(run!.runId);
    expect(child.stateDigest).toBe(done.stateDigest);
    expect(child.parentRunId).toBe(done.runId);
    expect(await server.events(done.runId)).toEqual(before);
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
    expect(again).toMatchObject({ stateDigest: done.stateDigest, rewinds: 1 });
    expect(recordProblems(await server.events(again.runId))).toEqual([]);
  });

  it('is forked with what a fork may change, and refused what it may not, by name', async () => {
    const from = { $case: 'lastState', value: true } as const;
    const overrides = v1.ForkOverrides.fromPartial({ totalSteps: 130, targetSparsity: 0.25 }); // earlier clients name them in this way
    const changed = v1.RunSettings.fromPartial({ totalSteps: 140, seed: 9n });
    const child = await server.completed((await fork({ parentRunId: done.runId, from, overrides, settings: changed })).run!.runId);
    expect(child).toMatchObject({ step: 140n, settings: { targetSparsity: 0.25, seed: 9n } });
    const settings = v1.RunSettings.fromPartial({ loraRank: 4, batchSize: 16 });
    await expect(fork({ parentRunId: done.runId, from, settings })).rejects.toMatchObject({
      violations: [
        { field: 'settings.batch_size', code: 'FORK_FIELD_FIXED' },
        { field: 'settings.lora_rank', code: 'FORK_FIELD_FIXED' },
      ],
    });
    expect(await refused(fork({ parentRunId: done.runId, from }))).toBe('FIELD_OUT_OF_RANGE'); // no steps are left
    expect(await refused(fork({ parentRunId: done.runId, from: { $case: 'teacherMark', value: 99 } }))).toBe('TEACHER_NOT_FOUND');
    expect(await refused(fork({ parentRunId: 'aaaaaaaaaaaa', from }))).toBe('RUN_NOT_FOUND');
  });

  it('is exported, evaluated, and the exports keep its perplexity, also while another run trains', async () => {
    const { runId } = await server.launch({ ...ENDLESS, segmentSteps: 20 });
    await server.until(runId, (run) => run.step > 0n);
    const masked = done.evaluations.find((one) => one.subject === 'masked')!;
    for (const format of ['masked', 'hf', 'hf-remote', 'vllm', 'gguf']) {
      const messages = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: done.runId, format, dtype: 'f32' })));
      const exported = messages[messages.length - 1]!.export!;
      expect(exported.format).toBe(format);
      expect(exported.files).toEqual(expect.arrayContaining(format === 'gguf' ? ['model.gguf'] : ['config.json', 'tokenizer.json']));
      expect(exported.proof!.loaders[0]).toMatchObject({ loader: "Espalier's own reader", outcome: 'agrees' });
      expect(exported.proof!.loaders.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      const request = v1.EvaluateRunRequest.fromPartial({ runId: done.runId, exportDigest: exported.digest });
      const evaluated = await collect(server.runs.evaluateRun(request));
      expect(evaluated[evaluated.length - 1]!.evaluation!.negativeLogLikelihood).toBeCloseTo(masked.negativeLogLikelihood, 4);
    }
    const teacher = await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId: done.runId, teacherMark: 1 })));
    expect(teacher.some((one) => one.waitingFor.includes(runId))).toBe(true);
    await cancel(runId);
    await server.until(runId, (run) => run.status === RUN_STATUS_CANCELLED);
    expect(recordProblems(await server.events(runId))).toEqual([]);
  });

  it("is exported in a type of llama.cpp's own, which llama.cpp proves, or is refused where llama.cpp is not at hand", async () => {
    const request = v1.ExportRunRequest.fromPartial({ runId: done.runId, format: 'gguf', dtype: 'q4_k_m' });
    if (!HAS_LLAMA_CPP) {
      expect(await refused(collect(server.runs.exportRun(request)))).toBe('QUANTIZER_MISSING');
      return;
    }
    const { dtype, notes, proof } = (await collect(server.runs.exportRun(request))).at(-1)!.export!;
    expect(dtype).toBe('q4_k_m');
    expect(notes).toContainEqual(expect.stringContaining('Quantized to q4_k_m by llama.cpp'));
    const [own, other] = proof!.loaders;
    expect(own!.outcome).not.toBe('failed'); // the loader knows the types of some of these files
    expect(other).toMatchObject({ outcome: 'agrees', loader: expect.stringContaining('llama.cpp') as string });
    const difference = Math.abs(other!.negativeLogLikelihood - proof!.negativeLogLikelihood);
    expect(difference).toBeLessThan(0.3);
  });

  it('is evaluated on other text, by the name of its column', async () => {
    const { writeFileSync } = await import('node:fs');
    const dataPath = `${server.dataFolder}-other.csv`;
    writeFileSync(dataPath, `title,content\n${'one,"Once upon a time there was a house by the sea."\n'.repeat(200)}`);
    const evaluate = async (request: Partial<v1.EvaluateRunRequest>): Promise<v1.Evaluation> => {
      const full = v1.EvaluateRunRequest.fromPartial({ runId: done.runId, dataPath, ...request });
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
          { work: { $case: 'evaluate', value: v1.EvaluateRunRequest.fromPartial({ runId: done.runId, ...value }) } },
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
    expect(job).toMatchObject({ runId: done.runId, state: v1.JobState.JOB_STATE_RUNNING, request: { work: { $case: 'evaluate' } } });
    const jobs = (): Promise<v1.ListJobsResponse> => unary((cb) => server.runs.listJobs({ runId: done.runId }, cb));
    let [ended] = (await jobs()).jobs;
    for (; ended?.endedAt === undefined; [ended] = (await jobs()).jobs) await sleep(50);
    expect(ended).toMatchObject({ jobId: job!.jobId, state: v1.JobState.JOB_STATE_DONE, evaluations: [{ subject: 'intact', window: 16 }] });
    expect((await server.run(done.runId)).evaluations.some(({ window }) => window === 16)).toBe(true);
    const cancel = (jobId: string): Promise<v1.CancelJobResponse> => unary((cb) => server.runs.cancelJob({ jobId }, cb));
    expect((await cancel(job!.jobId)).job!.state).toBe(v1.JobState.JOB_STATE_DONE);
    await expect(cancel('nowhere')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('is evaluated by tasks, which leave its own figure alone', async () => {
    const { mkdirSync, writeFileSync } = await import('node:fs');
    const data = `${server.dataFolder}-tasks`;
    const rows = [0, 1, 2].map((n) => ({ goal: `Goal ${n}`, sol1: 'do it', sol2: `do it ${n} times over`, label: n % 2 }));
    mkdirSync(`${data}/piqa`, { recursive: true });
    writeFileSync(`${data}/piqa/validation.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const answers = (request: Partial<v1.EvaluateTasksRequest>): Promise<v1.EvaluateTasksResponse[]> => {
      const full = v1.EvaluateTasksRequest.fromPartial({ runId: done.runId, tasks: ['piqa'], taskDataPath: data, ...request });
      return collect(server.runs.evaluateTasks(full));
    };
    const evaluate = async (request: Partial<v1.EvaluateTasksRequest>): Promise<v1.Evaluation[]> =>
      (await answers(request)).at(-1)!.evaluations;
    const [acc, accNorm] = await evaluate({});
    expect(acc).toMatchObject({
      subject: 'masked',
      task: 'piqa',
      metric: 'acc',
      n: 3n,
      convention: '0 shots, all 3 rows',
      headline: false,
    });
    expect(accNorm).toMatchObject({ metric: 'acc_norm', samplesDigest: acc!.samplesDigest, digests: acc!.digests });
    const chunks = await collect(server.artifacts.downloadArtifact({ digest: acc!.samplesDigest, offset: 0n }));
    const samples = Buffer.concat(chunks.map(({ chunk }) => chunk))
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { loglikelihoods: number[] });
    expect(samples).toEqual(
      rows.map(({ goal, sol1, sol2, label }, index) => ({
        task: 'piqa',
        index,
        prompt: `Question: ${goal}\nAnswer:`,
        choices: [` ${sol1}`, ` ${sol2}`],
        gold: label,
        loglikelihoods: [expect.any(Number), expect.any(Number)],
      })),
    );
    const right = samples.filter(({ loglikelihoods: [one, other] }, index) => Number(other! > one!) === rows[index]!.label);
    expect(acc!.value).toBe(right.length / 3);
    // The tasks that an evaluation finished before it was interrupted are not computed again.
    const again = await answers({});
    expect(again.at(-1)!.evaluations).toEqual([acc, accNorm]);
    expect(again.filter(({ doing }) => doing !== '')).toEqual([]);
    const [limited] = await evaluate({ intact: true, limit: 2 });
    expect(limited).toMatchObject({ subject: 'intact', n: 2n, convention: '0 shots, the first 2 of 3 rows' });
    const { run } = await unary<v1.GetRunResponse>((cb) => server.runs.getRun({ runId: done.runId }, cb));
    expect(run!.evaluations.find(({ headline }) => headline)).toEqual(done.evaluations.find(({ headline }) => headline));
    // This evaluates a task for which the model writes texts, beside one that is scored.
    const own = `${data}/words.yaml`;
    const declared = {
      task: 'words',
      kind: 'generation',
      data: { folder: 'piqa', split: 'validation' },
      prompt: '{{goal}}',
      answer: 'sol1',
    };
    writeFileSync(own, JSON.stringify({ ...declared, until: ['.'], max_tokens: 8, metrics: ['exact_match'] }));
    const [, , written] = await evaluate({ tasks: [own, 'piqa'] });
    expect(written).toMatchObject({ task: 'words', metric: 'exact_match', n: 3n, convention: 'greedy, at most 8 tokens, all 3 rows' });
    const texts = await collect(server.artifacts.downloadArtifact({ digest: written!.samplesDigest, offset: 0n }));
    const first = JSON.parse(
      Buffer.concat(texts.map(({ chunk }) => chunk))
        .toString()
        .split('\n')[0]!,
    ) as { gold: string; text: string };
    const request = { runId: done.runId, prompts: ['Goal 0'], maxTokens: 8, stop: ['.'] };
    const alone = await collect(server.runs.generate(v1.GenerateRequest.fromPartial(request)));
    expect(first).toMatchObject({
      prompt: 'Goal 0',
      gold: 'do it',
      text: alone.flatMap(({ pieces }) => pieces.map(({ text }) => text)).join(''),
    });
    const bad = (request: Partial<v1.EvaluateTasksRequest>): Promise<string> => refused(evaluate(request));
    expect(await bad({ tasks: [] })).toBe('FIELD_REQUIRED');
    expect(await bad({ tasks: ['piqua'] })).toBe('TASK_NOT_FOUND');
    expect(await bad({ tasks: ['boolq'] })).toBe('TASK_DATA_NOT_FOUND');
    expect(await bad({ computeDtype: 'f64' })).toBe('FIELD_UNKNOWN_VALUE');
    expect(recordProblems(await server.events(done.runId))).toEqual([]);
  });

  it('writes texts: of its last state, a teacher and the intact model, the same for a seed whatever else is asked for', async () => {
    const { runId } = done;
    const asked = (request: Partial<v1.GenerateRequest>) =>
      collect(server.runs.generate(v1.GenerateRequest.fromPartial({ runId, prompts: ['Once upon'], maxTokens: 16, ...request })));
    const texts = async (request: Partial<v1.GenerateRequest> = {}): Promise<string[]> => {
      const made = (request.prompts ?? ['Once upon']).map(() => '');
      for (const { prompt, text } of (await asked(request)).flatMap(({ pieces }) => pieces)) made[prompt] = `${made[prompt]}${text}`;
      return made;
    };
    const [greedy] = await texts();
    expect(greedy!.length).toBeGreaterThan(0);
    expect(await texts({ intact: true })).not.toEqual([greedy]);
    expect(await texts({ teacherMark: 1 })).not.toEqual([greedy]);
    const drawn = { temperature: 1, topP: 0.9, seed: 5n };
    const [alone] = await texts({ ...drawn, prompts: ['The'] });
    expect(await texts({ ...drawn, prompts: ['Once upon', 'The'] })).toContain(alone);
    const stop = greedy!.slice(4, 7);
    expect(await texts({ stop: [stop] })).toEqual([greedy!.slice(0, greedy!.indexOf(stop))]);

    await expect(
      asked({ prompts: [], maxTokens: 100_000, temperature: -1, topP: 0, stop: [''], computeDtype: 'int8' }),
    ).rejects.toMatchObject({
      violations: ['prompts', 'max_tokens', 'temperature', 'top_p', 'stop[0]', 'compute_dtype'].map((field) =>
        expect.objectContaining({ field, code: 'FIELD_OUT_OF_RANGE' }),
      ),
    });
    await expect(asked({ prompts: ['a', 'b '.repeat(2_000)] })).rejects.toMatchObject({ violations: [{ field: 'prompts[1]' }] });

    const stream = server.runs.generate(v1.GenerateRequest.fromPartial({ runId, prompts: Array<string>(64).fill('The'), maxTokens: 500 }));
    await new Promise((resolve) => stream.once('data', resolve));
    stream.on('error', () => undefined).cancel();
    expect(await texts()).toEqual([greedy]); // the engine is free again
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
    expect(storedStates().map((path) => path.slice(-64))).toContain(done.stateDigest);
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
    expect(await refused(server.resume(done.runId))).toBe('RUN_FINISHED');
    expect(await refused(cancel(done.runId))).toBe('RUN_FINISHED');
    expect(await refused(server.run('zzzzzz'))).toBe('RUN_NOT_FOUND');
  });

  it('is served with health checks and reflection', async () => {
    await checkHealth(server.runs.getChannel(), 60_000);
    expect(await reflectedServices(server.runs.getChannel() as Channel)).toEqual(
      expect.arrayContaining(['espalier.v1.RunService', 'espalier.v1.HistoryService', 'espalier.v1.ArtifactService']),
    );
  });

  it('has views that equal a rebuild', async () => {
    const before = comparable(await server.run(done.runId));
    await collect(server.history.rebuildViews({}));
    expect(comparable(await server.run(done.runId))).toEqual(before);
  });

  it('learns under each recipe', async () => {
    for (const recipe of [v1.Recipe.RECIPE_DISTILL, v1.Recipe.RECIPE_LM]) {
      const run = await server.completed((await server.launch({ ...TINY_RUN, totalSteps: 40, recipe })).runId);
      expect(run.settings!.recipe).toBe(recipe);
    }
  });
});
