// Tests the output of `show`, `runs` and `plan` against a server of the public protocol.
import { settingsTable, v1 } from '#protocol';
import { runCli } from '../../testing/run-cli.js';
import { testRun, TestServer, type Answers } from '../../testing/test-server.js';

let server: TestServer | undefined;
afterEach(() => server?.stop());
async function espalier(answers: Answers, ...args: string[]): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  server = await TestServer.start(answers);
  return runCli(args, { env: { ESPALIER_SERVER: server.address, COLUMNS: '200' } });
}
const settingNames = (): string[] => settingsTable().map(({ field }) => field);
const evaluation = ({ window = 256, ...part }: Partial<v1.Evaluation>): v1.Evaluation =>
  v1.Evaluation.fromPartial({
    ...{ subject: 'masked', task: 'text', metric: 'perplexity', value: part.perplexity ?? 7, perplexity: 7, step: 40n, window },
    ...{ convention: `windows of ${window} tokens`, dataDigest: 'aa'.repeat(32), ...part },
  });

test('show tells evaluations apart by what they were made of; runs shows the headline only', async () => {
  const run = testRun({
    data: v1.DataSource.fromPartial({ trainPath: '/train.jsonl', validationPath: '/validation.jsonl' }),
    evaluations: [
      evaluation({ dataPath: '/validation.jsonl', headline: true }),
      evaluation({ perplexity: 1.5, window: 8, dataPath: '/validation.jsonl' }),
      evaluation({ perplexity: 2.5, dataDigest: 'bb'.repeat(32), dataPath: '/texts/easy.jsonl' }),
      evaluation({ perplexity: 3.5, teacherMark: 12, step: 20n, dataPath: '/validation.jsonl' }),
      evaluation({ perplexity: 4.5, step: 60n, dataPath: '/validation.jsonl', abandoned: true }),
    ],
  });
  const answers: Answers = { getRun: () => ({ run }), listRuns: () => ({ runs: [run], nextPageToken: '', total: 1 }) };
  const shown = (await espalier(answers, 'show', 'abcd')).stdout;
  const row = (perplexity: string): string => shown.split('\n').find((line) => line.includes(perplexity)) ?? '';
  expect(row('7.0000')).toMatch(/^masked .* 256 .* validation .*the run's own/);
  expect(row('1.5000')).toMatch(/ 8 .* validation /);
  expect(row('2.5000')).toMatch(/ easy\.jsonl \(bbbbbbbbbbbb\)/);
  expect(row('3.5000')).toMatch(/^masked, teacher #12 /);
  expect(row('4.5000')).toMatch(/abandoned branch/);
  server?.stop();
  expect((await espalier(answers, 'runs')).stdout).toMatch(/ 7\.000 /);
});

test('show and watch of a queued run say what the server says that it waits for, each time that it changes', async () => {
  const words = 'an engine that is free: local-1 works for run efgh; 1 run stands before it';
  const run = testRun({ runId: 'abcd', status: v1.RunStatus.RUN_STATUS_QUEUED, queuedFor: words });
  const answers: Answers = {
    getRun: () => ({ run }),
    async *watchRun() {
      yield v1.WatchRunResponse.fromPartial({ run });
      yield v1.WatchRunResponse.fromPartial({ run, revision: 2n });
      yield v1.WatchRunResponse.fromPartial({ run: testRun({ status: v1.RunStatus.RUN_STATUS_COMPLETED }) });
    },
  };
  expect((await espalier(answers, 'show', 'abcd')).stdout).toMatch(new RegExp(`^waits for +${words}$`, 'm'));
  server?.stop();
  const watched = await espalier(answers, 'watch', 'abcd');
  expect(`${watched.stdout}${watched.stderr}`.split(`waits for ${words}\n`)).toHaveLength(2);
});

test('show tells key/value heads of runs whose gates take them away, and of no others', async () => {
  const layer = { headsOpen: 2, heads: 6, unitsOpen: 100, units: 512 };
  const layers = [layer, { ...layer, kvHeads: 3, kvHeadsOpen: 1 }].map((one) => v1.LayerShape.fromPartial(one));
  const shown = async (of: v1.LayerShape): Promise<string> => {
    const { stdout } = await espalier({ getRun: () => ({ run: testRun({ layers: [of] }) }) }, 'show', 'abcd');
    server?.stop();
    return stdout;
  };
  const [without, withKeys] = [await shown(layers[0]!), await shown(layers[1]!)];
  expect(without).not.toContain('KEYS');
  expect(withKeys).toMatch(/^LAYER +HEADS +KEYS +UNITS/m);
  expect(withKeys).toMatch(/^ +0 +2\/6 .* 1\/3 .*100\/512/m);
});

test('show and plan print every setting that the protocol has', async () => {
  const run = testRun({ settings: { ...testRun().settings!, targetSparsity: 0.5325639824566292 } });
  const answers: Answers = {
    getRun: () => ({ run }),
    planRun: () => v1.PlanRunResponse.fromPartial({ settings: run.settings, memory: {} }),
  };
  expect(settingNames().length).toBeGreaterThan(20);
  for (const args of [
    ['show', 'abcd'],
    ['plan', '--model', '/model'],
  ]) {
    const { stdout } = await espalier(answers, ...args);
    server?.stop();
    for (const name of settingNames()) expect(stdout).toMatch(new RegExp(`^${name} `, 'm'));
    expect(stdout).toMatch(/^target_sparsity +53\.26%$/m);
    expect(stdout).toMatch(/^lora_targets +q_proj$/m);
    expect(stdout).toMatch(/^recipe +nuteprune$/m);
  }
});

test('a target that was missed is said wherever the run is shown, and is the exit code of watching', async () => {
  const run = testRun({
    status: v1.RunStatus.RUN_STATUS_COMPLETED,
    step: 100n,
    expectedSparsity: 0.5,
    hardSparsity: 0.33,
  });
  const answers: Answers = {
    getRun: () => ({ run }),
    listRuns: () => ({ runs: [run], nextPageToken: '', total: 1 }),
    async *watchRun() {
      yield v1.WatchRunResponse.fromPartial({ run });
    },
  };
  const outputs = [];
  for (const args of [['show', 'abcd'], ['runs'], ['watch', 'abcd']]) {
    outputs.push(await espalier(answers, ...args));
    server?.stop();
  }
  expect(outputs.map(({ exitCode }) => exitCode)).toEqual([0, 0, 6]);
  for (const { stdout } of outputs) expect(stdout).toMatch(/completed, target missed/);
  expect(outputs[0]!.stdout).toMatch(/^target +missed: pruning ended at 33\.0% of 50\.0%/m);
  expect(outputs[2]!.stdout).toMatch(/the target was missed: sparsity 33\.0% instead of 50\.0%/);
});

test('runs compares all by the parameters that are gone, and names what the share of each target is of', async () => {
  const about = { status: v1.RunStatus.RUN_STATUS_COMPLETED, step: 100n, parameterCount: 10_000n };
  const result = (parameterCount: bigint) => ({ parameterCount, multiplicationShare: 0.5, estimated: false, bytes: 0n });
  const budget = v1.Budget.fromPartial({ setting: 'target_bytes', unit: 'bytes', asked: 1, intact: 2, intactSize: 2 });
  const runs = [
    testRun({ ...about, runId: 'prunable', hardSparsity: 0.5, result: result(7_000n) }),
    testRun({ ...about, runId: 'bytes', hardSparsity: 0.44, budget, result: result(5_500n) }),
  ];
  const { stdout } = await espalier({ listRuns: () => ({ runs, nextPageToken: '', total: 2 }) }, 'runs');
  expect(stdout).toMatch(/^prunable .* 30\.0% .* 50\.0% of prunable /m);
  expect(stdout).toMatch(/^bytes .* 45\.0% .* 44\.0% of bytes /m);
});

test('a target that pruning missed is said before recovery begins, with what helps', async () => {
  const phases = [
    { kind: 'prune', firstStep: 0n, endStep: 100n },
    { kind: 'recover', firstStep: 100n, endStep: 200n },
  ];
  const at = (step: bigint): v1.Run => testRun({ step, phases, hardSparsity: 0.33 });
  const answers: Answers = {
    getRun: () => ({ run: at(100n) }),
    async *watchRun() {
      for (const run of [at(99n), at(100n), at(101n), { ...at(200n), status: v1.RunStatus.RUN_STATUS_COMPLETED }])
        yield v1.WatchRunResponse.fromPartial({ run });
    },
  };
  expect((await espalier(answers, 'show', 'abcd')).stdout).toMatch(/training, target missed\n[^]*^target +missed: pruning ended at 33/m);
  server?.stop();
  const { stdout } = await espalier(answers, 'watch', 'abcd');
  const words = 'pruning is done at step 100, and the target was missed: sparsity 33.0% instead of 50.0%; ';
  expect(stdout.split(words)).toHaveLength(2);
  expect(stdout).toContain(`${words}more --steps or a higher --mask-lr come closer\n`);
});

test('a target out of reach is said before and at the launch, beside the result', async () => {
  const message = 'in 3 steps at mask_learning_rate 0.1 the masks can reach at most 5%: more total_steps or a lower target get there';
  const warnings = [{ code: 'TARGET_OUT_OF_REACH', field: 'settings.mask_learning_rate', message }];
  const answers: Answers = {
    planRun: () => v1.PlanRunResponse.fromPartial({ settings: {}, memory: {}, warnings }),
    launchRun: () => ({ run: testRun(), alreadyLaunched: false, warnings }),
    forkRun: () => ({ run: testRun(), alreadyLaunched: false, warnings }),
  };
  const told = 'warning: in 3 steps at --mask-lr 0.1 the masks can reach at most 5%: more --steps or a lower target get there\n';
  for (const args of [
    ['plan', '--model', '/model'],
    ['launch', '--model', '/model', '--data', '/train.jsonl', '--json'],
    ['fork', 'abcd', '--last'],
  ]) {
    const { exitCode, stderr, stdout } = await espalier(answers, ...args);
    server?.stop();
    expect(exitCode).toBe(0);
    if (args.includes('--json')) {
      expect(JSON.parse(stdout)).toMatchObject({ run_id: 'abcdefghij23' });
      expect(JSON.parse(stderr)).toMatchObject({ warning: { code: 'TARGET_OUT_OF_REACH', option: '--mask-lr' } });
    } else expect(stderr).toBe(told);
  }
  const { stdout, stderr } = await espalier(answers, 'plan', '--model', '/model', '--json');
  expect({ warnings: JSON.parse(stdout).warnings, stderr }).toEqual({ warnings, stderr: '' });
});

test('runs and show tell the step that is done beside the one that is recorded', async () => {
  const liveMetrics = v1.StepMetrics.fromPartial({ step: 53n, loss: 3.25 });
  const run = testRun({ step: 50n, liveStep: 54n, liveMetrics, lastStep: v1.StepMetrics.fromPartial({ step: 49n, loss: 4.5 }) });
  const answers: Answers = { getRun: () => ({ run }), listRuns: () => ({ runs: [run], nextPageToken: '', total: 1 }) };
  const shown = (await espalier(answers, 'show', 'abcd')).stdout;
  expect(shown).toMatch(/step +50 of 100 recorded, 54 done/);
  expect(shown).toMatch(/loss +4\.5000 at step 50, recorded; 3\.2500 at step 54, done/);
  server?.stop();
  expect((await espalier(answers, 'runs')).stdout).toMatch(/ 50\/100, now 54 /);
});

test('an evaluation on other numerics than the training is noted, with the parts that differ', async () => {
  const training = 'espalier-numerics 3; sources 02f3d1e7032e, GNU 12.4.0; cpu 0123456789ab avx2 threads 2';
  const evaluation = { subject: 'masked', task: 'text', metric: 'perplexity', value: 5, headline: true };
  const evaluations = [v1.Evaluation.fromPartial({ ...evaluation, numericsFingerprint: training.replace('threads 2', 'threads 1') })];
  const { stdout } = await espalier({ getRun: () => ({ run: testRun({ numericsFingerprint: training, evaluations }) }) }, 'show', 'abcd');
  expect(stdout).toMatch(/masked .* the run's own, other numerics /);
  expect(stdout).toContain("other numerics: its engine differs from the training's in the threads (2 before, 1 now)");
});

test('a run that waits says for what, and what goes on with it', async () => {
  const waitingFor = v1.Wait.fromPartial({
    code: 'NUMERICS_CHANGED',
    message: 'this engine has others',
    command: 'espalier resume abcdefghij23 --accept-other-numerics',
  });
  const run = testRun({ status: v1.RunStatus.RUN_STATUS_PAUSED, waitingFor });
  const answers: Answers = { getRun: () => ({ run }), listRuns: () => ({ runs: [run], nextPageToken: '', total: 1 }) };
  expect((await espalier(answers, 'show', 'abcd')).stdout).toContain(
    'NUMERICS_CHANGED: this engine has others; go on with: espalier resume abcdefghij23 --accept-other-numerics',
  );
  server?.stop();
  expect((await espalier(answers, 'runs')).stdout).toContain('paused, NUMERICS_CHANGED');
});

test('a run that stands still has no time left, and says what it waits for', async () => {
  const { RUN_STATUS_TRAINING, RUN_STATUS_PAUSED, RUN_STATUS_QUEUED } = v1.RunStatus;
  const full = v1.Wait.fromPartial({ code: 'STORAGE_FULL', message: 'no room is left' });
  const told = async (part: Partial<v1.Run>): Promise<string> => {
    const { stdout } = await espalier({ getRun: () => ({ run: testRun(part) }) }, 'show', 'abcd');
    server?.stop();
    return stdout;
  };
  expect(await told({})).toMatch(/^step +40 of 100, about 1m00s left$/m);
  for (const [part, waitsFor] of [
    [{ status: RUN_STATUS_TRAINING, waitingFor: full }, 'STORAGE_FULL: no room is left; it goes on by itself'],
    [{ status: RUN_STATUS_PAUSED }, 'a user; go on with: espalier resume abcdefghij23'],
    [{ status: RUN_STATUS_QUEUED, queuedFor: 'an engine that is free' }, 'an engine that is free'],
  ] as const) {
    const shown = await told(part);
    expect(shown).toMatch(/^step +40 of 100$/m);
    expect(shown).toMatch(new RegExp(`^waits for +${waitsFor}$`, 'm'));
  }
  const paused = testRun({ status: RUN_STATUS_PAUSED, etaSeconds: 0 });
  const { stdout } = await espalier({ getRun: () => ({ run: paused }) }, 'show', 'abcd', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ eta_seconds: null });
});

test('watching ends when a run waits for a user, and tells the command that goes on; while a run goes on by itself it stays', async () => {
  const waitingFor = v1.Wait.fromPartial({ code: 'STORAGE_FULL', message: 'no room is left' });
  const told = [
    testRun({ waitingFor }),
    testRun({
      status: v1.RunStatus.RUN_STATUS_PAUSED,
      waitingFor: { ...waitingFor, code: 'X_Y', command: 'espalier resume abcdefghij23' },
    }),
    testRun({ status: v1.RunStatus.RUN_STATUS_COMPLETED }),
  ];
  const answers: Answers = {
    async *watchRun() {
      for (const run of told) yield v1.WatchRunResponse.fromPartial({ run });
    },
  };
  const { exitCode, stdout } = await espalier(answers, 'watch', 'abcd');
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/^training, STORAGE_FULL at step 40: no room is left; it goes on by itself$/m);
  expect(stdout.match(/^paused, X_Y at step 40: no room is left; go on with: espalier resume abcdefghij23$/gm)).toHaveLength(1);
  expect(stdout).not.toMatch(/completed/);
});

test('watching a run that a user has paused tells the command that goes on, once', async () => {
  const paused = testRun({ status: v1.RunStatus.RUN_STATUS_PAUSED });
  const answers: Answers = {
    async *watchRun() {
      const cancelled = testRun({ status: v1.RunStatus.RUN_STATUS_CANCELLED });
      for (const run of [paused, paused, cancelled]) yield v1.WatchRunResponse.fromPartial({ run });
    },
  };
  const { stdout } = await espalier(answers, 'watch', 'abcd');
  expect(stdout.match(/^paused at step 40; go on with: espalier resume abcdefghij23$/gm)).toHaveLength(1);
});

test('show has the speed that the table predicts beside the one that bench measured', async () => {
  const speed = v1.SpeedMeasured.fromPartial({ device: 'a processor', dtype: 'bf16', phase: 'decode', batch: 1, context: 64 });
  const figures = { asked: 0.2, intact: 0.3, intactSize: 0.3, predicted: 0.2, measured: 0.3 / 1.4 };
  const budget = v1.Budget.fromPartial({ setting: 'target_speedup', unit: 'seconds', ...figures, speed });
  const [prefill, decode] = [
    { times: 1.2, low: 1.15, high: 1.25 },
    { times: 1.4, low: 1.38, high: 1.42 },
  ];
  const on = { backend: 'cpu', device: 'a processor', threads: 2, computeDtype: 'bf16', batch: 1, promptTokens: 64, tokens: 32 };
  const measured = v1.MeasuredSpeed.fromPartial({ subject: 'masked', step: 40n, ...on, prefill, decode });
  const answers: Answers = { getRun: () => ({ run: testRun({ budget, speeds: [measured] }) }) };
  const { stdout } = await espalier(answers, 'show', 'abcd');
  expect(stdout).toMatch(/^budget +asked 200 of 300 ms \(1\.50x\); predicted 200 \(1\.50x\); measured 214\.3 \(1\.40x\)$/m);
  expect(stdout).toMatch(
    /^masked +1\.2x faster \(1\.15 to 1\.25\) +1\.4x faster \(1\.38 to 1\.42\) +1 +64 +bf16 +cpu a processor \(2 threads\) +40/m,
  );
});
