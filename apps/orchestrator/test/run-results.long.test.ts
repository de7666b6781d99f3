// Tests all that can be made of a run, on the real orchestrator, event store and engine with the tiny model: exports of every format,
// evaluations by tasks, texts. The life of a run is in run-lifecycle.test.ts.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { v1 } from '#protocol';
import { codeOf, collect, ENDLESS, TINY_RUN, unary } from './harness/server.js';
import { completedRun } from './harness/completed-run.js';
import { recordProblems } from './harness/record-checks.js';

const { RUN_STATUS_CANCELLED } = v1.RunStatus;

const HAS_LLAMA_CPP = existsSync(fileURLToPath(new URL('../../../../loaders/llama-cpp/node_modules/node-llama-cpp', import.meta.url)));

describe('of a run', () => {
  const pruned = completedRun({}, { requestId: 'first', name: 'first' });
  const { server } = pruned;

  const refused = async (call: Promise<unknown>): Promise<string> => call.then(() => 'accepted', codeOf);
  const cancel = (runId: string) => unary<v1.CancelRunResponse>((cb) => server.runs.cancelRun({ runId, reason: 'test' }, cb));

  it('is exported, evaluated, and the exports keep its perplexity, also while another run trains', async () => {
    const { runId } = await server.launch({ ...ENDLESS, segmentSteps: 20 });
    await server.until(runId, (run) => run.step > 0n);
    const masked = pruned.run.evaluations.find((one) => one.subject === 'masked')!;
    for (const format of ['masked', 'hf', 'hf-remote', 'vllm']) {
      const messages = await collect(
        server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: pruned.run.runId, format, dtype: 'f32' })),
      );
      const exported = messages[messages.length - 1]!.export!;
      expect(exported.format).toBe(format);
      expect(exported.files).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json']));
      expect(exported.proof!.loaders[0]).toMatchObject({ loader: "Espalier's own reader", outcome: 'agrees' });
      expect(exported.proof!.loaders.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      const request = v1.EvaluateRunRequest.fromPartial({ runId: pruned.run.runId, exportDigest: exported.digest });
      const evaluated = await collect(server.runs.evaluateRun(request));
      expect(evaluated[evaluated.length - 1]!.evaluation!.negativeLogLikelihood).toBeCloseTo(masked.negativeLogLikelihood, 4);
    }
    const teacher = await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId: pruned.run.runId, teacherMark: 1 })));
    expect(teacher.some((one) => one.waitingFor.includes(runId))).toBe(true);
    await cancel(runId);
    await server.until(runId, (run) => run.status === RUN_STATUS_CANCELLED);
    expect(recordProblems(await server.events(runId))).toEqual([]);
  });

  it("is exported in a type of llama.cpp's own, which llama.cpp proves, or is refused where llama.cpp is not at hand", async () => {
    const request = v1.ExportRunRequest.fromPartial({ runId: pruned.run.runId, format: 'gguf', dtype: 'q4_k_m' });
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

  it('is evaluated by tasks, which leave its own figure alone', async () => {
    const { mkdirSync, writeFileSync } = await import('node:fs');
    const data = `${server.dataFolder}-tasks`;
    const rows = [0, 1, 2].map((n) => ({ goal: `Goal ${n}`, sol1: 'do it', sol2: `do it ${n} times over`, label: n % 2 }));
    mkdirSync(`${data}/piqa`, { recursive: true });
    writeFileSync(`${data}/piqa/validation.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const answers = (request: Partial<v1.EvaluateTasksRequest>): Promise<v1.EvaluateTasksResponse[]> => {
      const full = v1.EvaluateTasksRequest.fromPartial({ runId: pruned.run.runId, tasks: ['piqa'], taskDataPath: data, ...request });
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
    const { run } = await unary<v1.GetRunResponse>((cb) => server.runs.getRun({ runId: pruned.run.runId }, cb));
    expect(run!.evaluations.find(({ headline }) => headline)).toEqual(pruned.run.evaluations.find(({ headline }) => headline));
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
    const request = { runId: pruned.run.runId, prompts: ['Goal 0'], maxTokens: 8, stop: ['.'] };
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
    expect(recordProblems(await server.events(pruned.run.runId))).toEqual([]);
  });

  it('writes texts: of its last state, a teacher and the intact model, the same for a seed whatever else is asked for', async () => {
    const { runId } = pruned.run;
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

  it('learns under each recipe', async () => {
    for (const recipe of [v1.Recipe.RECIPE_DISTILL, v1.Recipe.RECIPE_LM]) {
      const run = await server.completed((await server.launch({ ...TINY_RUN, totalSteps: 40, recipe })).runId);
      expect(run.settings!.recipe).toBe(recipe);
    }
  });
});
