// Tests the command against a server of the public protocol.
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { runCli, runProcess } from './testing/run-cli.js';
import { refusal, testExport, testRun, testSteps, TestServer, type Answers } from './testing/test-server.js';

let folder: string;
let servers: TestServer[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-'));
});
afterEach(async () => {
  for (const server of servers) server.stop();
  servers = [];
  await rm(folder, { recursive: true, force: true });
});

async function serve(answers: Answers): Promise<TestServer> {
  const server = await TestServer.start(answers);
  servers.push(server);
  return server;
}
/** Writes espalier.json, as a server does when it is ready. */
async function announce(server: TestServer): Promise<void> {
  await mkdir(join(folder, 'data'), { recursive: true });
  await writeFile(join(folder, 'data', 'espalier.json'), JSON.stringify({ listen: server.address, pid: process.pid }));
}
const espalier = async (server: TestServer, ...args: string[]) => runCli(args, { env: { ESPALIER_SERVER: server.address }, cwd: folder });

describe('launch and fork', () => {
  test('every setting given is sent, nothing else; paths are made absolute', async () => {
    const requests: v1.LaunchRunRequest[] = [];
    const server = await serve({
      launchRun: (request) => {
        requests.push(request);
        return { run: testRun({ settings: request.settings }), alreadyLaunched: false, warnings: [] };
      },
    });
    const result = await espalier(
      server,
      'launch',
      '--model',
      'model',
      '--data',
      'train.jsonl',
      '--validation',
      '/v.jsonl',
      '--name',
      'n',
      '--request-id',
      'r1',
      '--target-sparsity',
      '70%',
      '--recipe',
      'distill',
      '--steps',
      '200',
      '--seed',
      '18446744073709551615',
      '--lora-targets',
      'q_proj,v_proj',
      '--dtype',
      'f32',
      '--lambda-lr',
      '1e-1',
    );
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(result.stdout).toMatch(/launched abcdefghij23 \(a name\): distill to 70% in 200 steps/);
    expect(requests[0]).toMatchObject({
      requestId: 'r1',
      name: 'n',
      modelPath: join(folder, 'model'),
      data: { trainPath: join(folder, 'train.jsonl'), validationPath: '/v.jsonl' },
    });
    expect(requests[0]!.settings).toEqual(
      v1.RunSettings.fromPartial({
        targetSparsity: 0.7,
        recipe: v1.Recipe.RECIPE_DISTILL,
        totalSteps: 200,
        seed: 2n ** 64n - 1n,
        loraTargets: ['q_proj', 'v_proj'],
        computeDtype: v1.ComputeDtype.COMPUTE_DTYPE_F32,
        lambdaLearningRate: 0.1,
      }),
    );
  });

  test('a launch without a request id gets one of its own each time', async () => {
    const ids: string[] = [];
    const server = await serve({
      launchRun: (request) => {
        ids.push(request.requestId);
        return { run: testRun(), alreadyLaunched: false, warnings: [] };
      },
    });
    for (let time = 0; time < 2; time++) await espalier(server, 'launch', '--model', 'm', '--data', 'd');
    expect(new Set(ids).size).toBe(2);
  });

  test('fork: the starting point, what changes, and fixed settings for the server to refuse', async () => {
    const requests: v1.ForkRunRequest[] = [];
    const server = await serve({
      forkRun: (request) => {
        requests.push(request);
        return { run: testRun({ parentRunId: 'parent', forkedAtStep: 20n }), alreadyLaunched: false, warnings: [] };
      },
    });
    const result = await espalier(server, 'fork', 'parent', '--from-teacher', '20', '--target-sparsity', '0.3', '--batch-size', '4');
    expect(result.stdout).toMatch(/forked from parent at step 20/);
    expect(requests[0]).toMatchObject({
      parentRunId: 'parent',
      from: { $case: 'teacherMark', value: 20 },
      data: undefined,
      settings: { targetSparsity: 0.3, batchSize: 4 },
    });
    expect((await espalier(server, 'fork', 'parent')).exitCode).toBe(2);
    const both = await espalier(server, 'fork', 'parent', '--last', '--from-teacher', '3');
    expect(both.exitCode).toBe(2);
    expect(both.stderr).toMatch(/OPTIONS_CONFLICT/);
  });
});

describe('plan', () => {
  const planned = (totalBytes: bigint, memory: Partial<v1.MemoryPlan> = {}): v1.PlanRunResponse =>
    v1.PlanRunResponse.fromPartial({
      settings: { preset: 'nuteprune2', batchSize: 4, sequenceLength: 64, totalSteps: 100, warmupSteps: 30, recoverSteps: 250 },
      parameterCount: 3_443_136n,
      prunableParameterCount: 2_654_208n,
      memory: { weightsBytes: 100n, activationsBytes: totalBytes - 100n, totalBytes, availableBytes: 1n << 30n, ...memory },
    });

  test('shows the settings and the memory of a run that is not launched', async () => {
    const requests: v1.PlanRunRequest[] = [];
    const server = await serve({
      planRun: (request) => {
        requests.push(request);
        return planned(1n << 20n);
      },
    });
    const result = await espalier(server, 'plan', '--model', 'model', '--batch-size', '4', '--recover-steps', '250');
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(result.stdout).toMatch(/^warmup_steps +30 steps \(30% of the steps\)$/m); // the server computed it
    expect(result.stdout).toMatch(/^recover_steps +250 steps$/m); // the request asked for it
    expect(result.stdout).toMatch(/3,443,136 parameters/);
    expect(result.stdout).toMatch(/^batch_size +4 sequences\nsequence_length +64 tokens$/m);
    expect(result.stdout).toMatch(/in all\s+1.00 MiB of 1.00 GiB/);
    const settings = v1.RunSettings.fromPartial({ batchSize: 4, recoverSteps: 250 });
    expect(requests).toEqual([{ modelPath: join(folder, 'model'), settings, forDevice: '', parentRunId: '', from: undefined }]);
  });

  test('measures some steps first where that is asked for', async () => {
    const measured = {
      seconds: 3725,
      fastSeconds: 3600,
      slowSeconds: 3900,
      stepOpenSeconds: 0.25,
      stepAtTargetSeconds: 0.125,
      recoveryStepSeconds: 0.1,
      evaluationSeconds: 5,
    };
    let [asked, scattered]: [v1.MeasurePlanRequest | undefined, Partial<v1.MeasuredPlan>] = [undefined, {}];
    const server = await serve({
      planRun: () => planned(1n << 20n),
      async *measurePlan(request) {
        asked = request;
        yield v1.MeasurePlanResponse.fromPartial({ measured: { ...measured, ...scattered, totalSteps: 600n, recoverSteps: 4800n } });
      },
    });
    const { stdout } = await espalier(server, 'plan', '--model', 'model', '--batch-size', '4', '--measure');
    expect(asked!.plan).toMatchObject({ modelPath: join(folder, 'model'), settings: { batchSize: 4 } });
    expect(stdout).toContain(
      'about 1h02m for 600 steps of pruning and 4,800 of recovery, as measured: a step takes 0.250 s at first and 0.125 s at the target, ' +
        'a step of recovery 0.100 s; 5.0s of evaluation. The measured steps put it between 1h00m and 1h05m.\n',
    );
    scattered = { slowSeconds: 9000 };
    const busy = await espalier(server, 'plan', '--model', 'model', '--measure');
    expect(busy.stdout).toContain('between 1h00m and 2h30m, by its median step 1h02m, for 600 steps of pruning');
    expect(busy.stdout).toContain('The slow steps took 2.5 times as long as the fast ones: other programs use the machine.\n');
    const json = await espalier(server, 'plan', '--model', 'model', '--measure', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ measured: { seconds: 3725, total_steps: 600 } });
    const ofFork = await espalier(server, 'plan', 'first', '--last', '--measure');
    expect([ofFork.exitCode, ofFork.stderr]).toEqual([2, expect.stringContaining('a fork has the speed of its parent') as string]);
  });

  test('says by which share of a budget the rate of recovery goes', async () => {
    const budget = {
      setting: 'target_params',
      unit: 'parameters',
      asked: 2_112_078,
      intact: 3_443_136,
      least: 172_157,
      prunableShare: 0.5015,
      prunableShareDecides: ['recover_learning_rate'],
    };
    const settings = { preset: 'nuteprune2', recoverLearningRate: 0.001 };
    const server = await serve({
      planRun: () => v1.PlanRunResponse.fromPartial({ ...planned(1n << 20n), budget, settings, result: {} }),
    });
    const rateOf = async (...options: string[]) =>
      /^recover_learning_rate +(.*)$/m.exec((await espalier(server, 'plan', '--model', 'model', ...options)).stdout)![1];
    expect(await rateOf()).toMatch(/^0\.001 \(.*; here the cost to go is 50\.1% of that of heads and units\)$/);
    expect(await rateOf('--recover-lr', '0.001')).toBe('0.001');
  });

  test('of a fork asks by its parent and its start, and says what the fork changes and how much it trains', async () => {
    const requests: v1.PlanRunRequest[] = [];
    const settings = { preset: 'nuteprune2', totalSteps: 600, recoverSteps: 400, recoverLearningRate: 0.0003, maskNoise: 0.3 };
    const parent = testRun({ settings: v1.RunSettings.fromPartial({ ...settings, recoverLearningRate: 0.0007 }) });
    const server = await serve({
      planRun: (request) => {
        requests.push(request);
        const disk = v1.DiskPlan.fromPartial({ teachers: 29 });
        return { ...planned(1n << 31n), settings: v1.RunSettings.fromPartial(settings), disk, forkedAtStep: 73n };
      },
      getRun: () => ({ run: parent }),
    });
    const start = ['plan', 'first', '--from-teacher', '20'];
    const { stdout, exitCode } = await espalier(server, ...start, '--target-sparsity', '0.3', '--for-device', 'h100-80gb');
    expect(requests).toEqual([
      v1.PlanRunRequest.fromPartial({
        parentRunId: 'first',
        from: { $case: 'teacherMark', value: 20 },
        settings: { targetSparsity: 0.3 },
        forDevice: 'h100-80gb',
      }),
    ]);
    expect(stdout).toContain(`a fork of ${parent.runId} at step 73: 927 steps to train, up to step 1,000\n`);
    expect(stdout).toMatch(/^recover_learning_rate +0\.0003 \(parent: 0\.0007\)$/m);
    expect(stdout).toMatch(/^mask_noise +0\.3$/m);
    expect(stdout).toContain('29 more teachers of ');
    expect({ exitCode, fits: stdout.includes('it does not fit, and a fork keeps the batch') }).toEqual({ exitCode: 1, fits: true });
    expect(JSON.parse((await espalier(server, ...start, '--json')).stdout)).toMatchObject({ forked_at_step: 73 });
  });

  test.each([
    ['a start without a parent', 'OPTION_REQUIRED', ['--model', 'model', '--last']],
    ['a parent without a start', 'OPTION_REQUIRED', ['first']],
    ['two starts', 'OPTIONS_CONFLICT', ['first', '--last', '--from-teacher', '3']],
    ['another model than that of the parent', 'OPTIONS_CONFLICT', ['first', '--last', '--model', 'model']],
    ['a measurement, which a fork has from its parent', 'OPTIONS_CONFLICT', ['first', '--last', '--on', 'cpu']],
  ])('of a fork does not take %s', async (_, code, options) => {
    const { stderr, exitCode } = await espalier(await serve({}), 'plan', ...options);
    expect({ stderr, exitCode }).toEqual({ stderr: expect.stringMatching(new RegExp(`^error ${code}: `)) as string, exitCode: 2 });
  });

  test('of what does not fit, the options that would make it fit', async () => {
    const options = { microShards: 4, checkpointActivations: true, streamWeights: true };
    const recoverWeights = v1.RecoverWeights.RECOVER_WEIGHTS_LORA;
    const change = { batchSize: 4, sequenceLength: 32, ...options, recoverWeights, totalBytes: 1n << 29n };
    const server = await serve({ planRun: () => planned(1n << 31n, { change }) });
    const { stdout } = await espalier(server, 'plan', '--model', 'model');
    const words = '--checkpoint-activations --stream-weights --micro-shards 4 --sequence-length 32 --recover-weights lora';
    expect(stdout).toContain(`it does not fit: 512.0 MiB would, with ${words}\n`);
  });

  test('for a card that is named: memory, time, and what they rest on', async () => {
    let asked = '';
    const change = { batchSize: 4, sequenceLength: 64, microShards: 4, totalBytes: 1n << 29n };
    const card = { name: 'h100-80gb', peakFlops: 989e12, peakShare: 0.4, seconds: 7200, changeSeconds: 7260 };
    const server = await serve({
      planRun: ({ forDevice }) => {
        asked = forDevice;
        return { ...planned(1n << 31n, { change: v1.MemoryChange.fromPartial(change) }), card };
      },
    });
    const { stdout } = await espalier(server, 'plan', '--model', 'model', '--for-device', 'h100-80gb');
    expect(asked).toBe('h100-80gb');
    expect(stdout).toContain('about 2h00m on h100-80gb, at 40% of the 989.0 TFLOP/s that its maker publishes');
    expect(stdout).toContain('it does not fit: 512.0 MiB would, for about 2h01m, with --micro-shards 4\n');
  });

  test('of a run with a time shows no steps, which are chosen at its start', async () => {
    const chosen = { settings: { preset: 'nuteprune2', time: 1800, speedTable: 'none' }, stepsToChoose: true };
    const plans = async (more: Partial<v1.PlanRunResponse>): Promise<string> => {
      const server = await serve({ planRun: () => v1.PlanRunResponse.fromPartial({ ...planned(1n << 20n), ...chosen, ...more }) });
      return (await espalier(server, 'plan', '--model', 'model', '--time', '30m')).stdout;
    };
    const inOneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');
    const unknown = await plans({});
    expect(unknown).toMatch(/^total_steps +chosen at the run's start$/m);
    expect(unknown).toMatch(/^warmup_steps +chosen at the run's start \(30% of the steps\)$/m);
    expect(unknown).toMatch(/^time +30m$/m);
    expect(inOneLine(unknown)).toContain("as many steps as fit 30m, measured at the run's start: their number is not known yet");
    const atOnce = await plans({ settings: v1.RunSettings.fromPartial({ ...chosen.settings, preset: 'fisher', totalSteps: 1 }) });
    expect(atOnce).toMatch(/^total_steps +1\b/m);
    expect(atOnce).toMatch(/^recover_steps +chosen at the run's start/m);
    const known = await plans({ estimatedSteps: 2_300n, estimatedByRunId: 'k3f9' });
    expect(inOneLine(known)).toContain('at most about 2,300 at the speed of run k3f9');
  });

  test('of a card, what the machine takes beside it counts too', async () => {
    const onCard = { hostBytes: 1n << 33n, hostAvailableBytes: 1n << 32n };
    const server = await serve({ planRun: () => planned(1n << 20n, onCard) });
    const result = await espalier(server, 'plan', '--model', 'model');
    expect(result.exitCode).toBe(1);
    expect(result.stdout).toMatch(/on the host +8\.00 GiB of 4\.00 GiB/);
  });

  test('what does not fit is said, and is the exit code', async () => {
    const server = await serve({ planRun: () => planned(1n << 31n) });
    const result = await espalier(server, 'plan', '--model', 'model');
    expect(result.exitCode).toBe(1);
    expect(result.stdout).toMatch(/it does not fit, and neither shorter sequences nor recovery by LoRA would/);
    expect(JSON.parse((await espalier(server, 'plan', '--model', 'model', '--json')).stdout)).toMatchObject({
      memory: { total_bytes: 2 ** 31, available_bytes: 2 ** 30 },
    });
  });
});

describe('errors', () => {
  test.each([
    ['RUN_NOT_FOUND', 3],
    ['FIELD_OUT_OF_RANGE', 2],
    ['RUN_FINISHED', 5],
    ['REQUEST_ID_REUSED', 5],
    ['ENGINE_UNAVAILABLE', 4],
    ['ENGINE_FAILED', 1],
    ['SOMETHING_NEW', 1],
  ])('%s ends with %d', async (code, exitCode) => {
    const server = await serve({
      getRun: () => {
        throw refusal(code, 'why it is so');
      },
    });
    const result = await espalier(server, 'show', 'abcd');
    expect(result).toMatchObject({ exitCode, stdout: '' });
    expect(result.stderr).toBe(`error ${code}: why it is so\n`);
  });

  test('fields and what is allowed, for people and for programs', async () => {
    const server = await serve({
      launchRun: () => {
        throw refusal('FIELD_OUT_OF_RANGE', 'must be in [0, 0.95], is 2', 'settings.target_sparsity');
      },
    });
    const share = ['launch', '--model', 'm', '--data', 'd', '--target-sparsity', '200%'];
    expect((await espalier(server, ...share)).stderr).toMatch(/must be in \[0, 0.95\], is 200%\n$/);
    const args = ['launch', '--model', 'm', '--data', 'd', '--target-sparsity', '200'];
    expect((await espalier(server, ...args)).stderr).toMatch(/FIELD_OUT_OF_RANGE: --target-sparsity: must be in \[0, 0.95\], is 2\n$/);
    const json = await espalier(server, ...args, '--json');
    expect(json.exitCode).toBe(2);
    expect(JSON.parse(json.stderr)).toMatchObject({
      error: { code: 'FIELD_OUT_OF_RANGE', fields: [{ field: 'settings.target_sparsity', description: 'must be in [0, 0.95], is 2' }] },
      exit_code: 2,
    });
  });

  test('a percentage that is typed as a plain number is answered with how it is written', async () => {
    const { exitCode, stderr } = await runCli(['launch', '--model', 'm', '--data', 'd', '--target-sparsity', '50']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('50 percent is written 50%');
  });

  test('an unknown format of an export is answered with those that there are', async () => {
    const { exitCode, stderr } = await runCli(['export', 'abcd', '--out', 'pruned.gguf', '--format', 'gguff']);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/hf-remote, hf, gguf, vllm, masked/);
    expect(stderr).not.toContain('folder');
  });

  test('a share in percent is repeated as it was typed, also where it is no setting', async () => {
    const server = await serve({
      async *generate() {
        throw refusal('FIELD_OUT_OF_RANGE', 'must be above 0, to 1, is 1.5', 'top_p');
      },
    });
    expect((await espalier(server, 'generate', 'abcd', 'x', '--top-p', '150%')).stderr).toMatch(
      /--top-p: must be above 0, to 1, is 150%\n$/,
    );
  });

  test('no server: says where it looked, and how to start one', async () => {
    const result = await runCli(['--server', '127.0.0.1:1', 'runs']);
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toMatch(/SERVER_UNAVAILABLE: no server answers at 127.0.0.1:1 \(from --server\)\n.*espalier up/);
    expect((await runCli(['--server', 'nonsense', 'runs'])).exitCode).toBe(2);
  });

  test.each<[string[], string?]>([
    [['lanch']],
    [['lanch', '--help']],
    [['audit', 'chek', '--help']],
    [['launch'], 'OPTION_REQUIRED'], // a file of --config may name the model
    [['runs', '--nonsense']],
    [['runs', '--status', 'sleeping']],
    [['launch', '--model', 'm', '--data', 'd', '--steps', '1.5']],
    [['fork', 'x', '--from-teacher', '-1']],
    [['launch', '--model', 'm', '--data', 'd', '--request-id', '']],
    [['verify', 'x', '--replay', '9..3']],
    [['show']],
    [['show', 'a', 'b']],
    [['history', 'x', '--types', ',']],
  ])('usage: %j ends with 2, as JSON too', async (args, code = 'USAGE') => {
    const result = await runCli(args, { cwd: folder });
    expect(result).toMatchObject({ exitCode: 2, stdout: '' });
    const json = await runCli([...args, '--json'], { cwd: folder });
    expect(json.exitCode).toBe(2);
    expect((JSON.parse(json.stderr) as { error: { code: string } }).error.code).toBe(code);
  });

  it.each([
    ['--modle', /Did you mean --model\?/],
    ['--total-steps', /Did you mean --steps\?/],
    ['--sparsity', /Did you mean one of --target-sparsity, --sparsity-control\?/],
    ['--zebra', /^error: unknown option '--zebra'\n\(more with --help\)\n$/],
  ])('launch %s: names the options that may be meant', async (flag, suggestion) => {
    const result = await runCli(['launch', flag, '1'], { cwd: folder });
    expect(result).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(suggestion) as string });
  });

  test.each([
    [['eval', 'abcd', '--task', 'boolq'], 'Did you mean one of --tasks, --task-data?'],
    [['rewind', 'abcd'], 'Did you mean resume RUN --from-teacher N?'],
  ])('%j is told what may be meant', async (args, suggestion) => {
    expect(await runCli(args, { cwd: folder })).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(suggestion) as string });
  });
});

describe('reading', () => {
  test('runs: pages are joined up to the limit; a table, or JSON in the names of the protocol', async () => {
    const pages: v1.ListRunsRequest[] = [];
    const server = await serve({
      listRuns: (request) => {
        pages.push(request);
        const from = Number(request.pageToken || 0);
        const to = Math.min(from + request.pageSize, 2000);
        const runs = Array.from({ length: to - from }, (_, index) => testRun({ runId: `run${from + index}` }));
        return { runs, nextPageToken: to === 2000 ? '' : String(to), total: 2000 };
      },
    });
    const table = await espalier(server, 'runs', '--limit', '700', '--status', 'training,paused', '--name', 'x');
    expect(pages.map((page) => page.pageSize)).toEqual([500, 200]);
    expect(pages[0]).toMatchObject({
      statuses: [v1.RunStatus.RUN_STATUS_TRAINING, v1.RunStatus.RUN_STATUS_PAUSED],
      nameContains: 'x',
      orderBy: 'launched_at desc',
    });
    expect(table.stdout.split('\n')[1]).toMatch(/^run0 +a name +training +40\/100 +- +50% +40\.9% of prunable/);
    expect(table.stdout).toMatch(/700 of 2,000/);
    pages.length = 0;
    expect((await espalier(server, 'runs', '--limit', '0', '--page-token', '1700')).stdout.match(/^run\d+/gm)).toHaveLength(300);
    const json = JSON.parse((await espalier(server, 'runs', '--limit', '1', '--json')).stdout) as { runs: object[]; total: number };
    expect(json.runs).toHaveLength(1);
    expect(json.runs[0]).toMatchObject({
      run_id: 'run0',
      status: 'training',
      step: 40,
      expected_sparsity: 0.412,
      teacher: { mark: 31 },
      ended_at: null,
      launched_at: '2026-01-02T03:04:05.000Z',
      settings: { recipe: 'nuteprune', total_steps: 100, lora_targets: ['q_proj'] },
    });
  });

  test('an answer without the run that it should have is an error, not a crash', async () => {
    const server = await serve({ getRun: () => ({ run: undefined }) });
    const { exitCode, stderr } = await espalier(server, 'show', 'k3f9');
    expect(stderr).toMatch(/INTERNAL: the server sent no run/);
    expect(exitCode).not.toBe(0);
  });

  test('show', async () => {
    const server = await serve({
      getRun: ({ runId }) => ({ run: testRun({ runId, failure: { code: 'ENGINE_LOST', message: 'gone', field: '' } }) }),
    });
    const { stdout } = await espalier(server, 'show', 'abcd');
    expect(stdout).toMatch(/cause +ENGINE_LOST: gone/);
    expect(stdout).toMatch(/step +40 of 100, about 1m00s left/);
    expect(stdout).toMatch(/0 +2\/6 +████░+ +100\/512/);
    expect(stdout).not.toContain('\u001b');
  });

  test('history reads all pages, with data when asked', async () => {
    const events = Array.from({ length: 5 }, (_, index) =>
      v1.HistoryEvent.fromPartial({
        runId: 'abcd',
        revision: BigInt(index),
        type: index === 3 ? 'NovelFact' : 'MasksUpdated',
        knownType: index !== 3,
        summary: `fact ${index}`,
        dataJson: `{"n":${index}}`,
        abandoned: index === 2,
      }),
    );
    const server = await serve({
      readHistory: ({ fromRevision }) => {
        const from = Number(fromRevision ?? 0n);
        return { events: events.slice(from, from + 2), nextRevision: from + 2 < events.length ? BigInt(from + 2) : undefined };
      },
    });
    const { stdout } = await espalier(server, 'history', 'abcd', '--data');
    expect(stdout.match(/fact \d/g)).toEqual(['fact 0', 'fact 1', 'fact 2', 'fact 3', 'fact 4']);
    expect(stdout).toMatch(/fact 2 +\(abandoned\)\n +\{"n":2\}/);
    expect(stdout).toMatch(/NovelFact +fact 3 +\(unknown type\)/);
    const limited = JSON.parse((await espalier(server, 'history', 'abcd', '--limit', '3', '--json')).stdout) as { events: object[] };
    expect(limited.events).toHaveLength(3);
  });

  test('damage is shown where it is, and that a run with lost events is damaged', async () => {
    const problem = 'event 1 of stream x does not match its checksum';
    const events = [
      v1.HistoryEvent.fromPartial({ runId: 'abcd', type: 'RunLaunched', knownType: true, summary: 'launched' }),
      v1.HistoryEvent.fromPartial({ runId: 'abcd', revision: 1n, summary: problem, damaged: true }),
    ];
    const damaged = testRun({
      status: v1.RunStatus.RUN_STATUS_DAMAGED,
      recordedStatus: v1.RunStatus.RUN_STATUS_TRAINING,
      damage: [{ revision: 1n, metrics: false, problem }],
    });
    const lostMetrics = testRun({ damage: [{ revision: 0n, metrics: true, problem: 'lost' }] });
    const server = await serve({
      readHistory: () => ({ events, nextRevision: undefined }),
      getRun: () => ({ run: damaged }),
      listRuns: () => ({ runs: [damaged, lostMetrics], nextPageToken: '', total: 2 }),
    });
    expect((await espalier(server, 'history', 'abcd', '--data', '--types', 'RunLaunched')).stdout).toMatch(
      / 1 {2}.*damaged +event 1 of stream x does not match its checksum\n$/,
    );
    const { stdout } = await espalier(server, 'show', 'abcd');
    expect(stdout).toMatch(/damaged\n/);
    expect(stdout).toMatch(/damage +event 1 of stream x/);
    expect(stdout).toMatch(/recorded +training, as far as events can be read/);
    expect((await espalier(server, 'runs')).stdout).toMatch(/ damaged .*\n.* training, metrics damaged /);
  });

  test('history --follow: of a run and of all runs, on from the last event when the server comes back', async () => {
    const event = (revision: number): v1.HistoryEvent =>
      v1.HistoryEvent.fromPartial({ runId: 'abcd', revision: BigInt(revision), type: 'MasksUpdated', summary: `fact ${revision}` });
    for (const name of ['abcd', '']) {
      const asked: unknown[] = [];
      const serving = (events: number[], stays: boolean): Answers => ({
        async *watchHistory({ runId, afterRevision, afterPosition }, signal) {
          asked.push([runId, afterRevision, afterPosition]);
          const position = (text: string): string => (runId === '' ? text : '');
          yield { event: undefined, caughtUp: true, position: position('start') };
          for (const revision of events) yield { event: event(revision), caughtUp: false, position: position(`p${revision}`) };
          if (stays) await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      });
      const first = await serve(serving([0, 1], true));
      await announce(first);
      let restarted = false;
      const result = await runProcess(
        ['--data-folder', join(folder, 'data'), 'history', ...(name === '' ? [] : [name]), '--follow', '--limit', '4'],
        {
          onOutput: (sofar) => {
            if (restarted || !sofar.includes('fact 1')) return;
            restarted = true;
            first.stop();
            void sleep(600).then(async () => announce(await serve(serving([2, 3, 4], true))));
          },
        },
      );
      expect(result.exitCode).toBe(0);
      expect(result.stdout.match(/fact \d/g)).toEqual(['fact 0', 'fact 1', 'fact 2', 'fact 3']);
      expect(result.stderr).toMatch(/^connection lost .*waiting for the server.*\nconnected again\n$/);
      expect(asked).toEqual([[name, undefined, ''], name === '' ? [name, undefined, 'p1'] : [name, 1n, '']]);
    }
  });

  test.each([
    [['history'], 'OPTION_REQUIRED', 'run'],
    [['verify', 'abcd', '--tolerance', '0.1'], 'OPTION_REQUIRED', '--tolerance'],
    [['history', '--follow', '--from', '3'], 'OPTIONS_CONFLICT', '--from'],
    [['metrics', 'abcd', '--export', 'csv', '--to-step', '9'], 'OPTIONS_CONFLICT', '--to-step'],
    [['metrics', 'abcd', '--out', 'x'], 'OPTION_REQUIRED', '--out'],
    [['history', 'abcd', '--follow', '--backwards'], 'OPTIONS_CONFLICT', '--backwards'],
    [['history', 'abcd', '--follow', '--inherited'], 'OPTIONS_CONFLICT', '--inherited'],
  ])('%j is refused and says which option', async (args, code, field) => {
    const result = await runCli([...args, '--json']);
    expect(result.exitCode).toBe(2);
    expect(JSON.parse(result.stderr)).toMatchObject({ error: { code, fields: [{ field }] } });
  });

  test('an option given twice is refused, but for a list', async () => {
    const result = await runCli(['launch', '--model', 'a', '--data', 'd', '--model', 'b', '--json']);
    expect(result.exitCode).toBe(2);
    expect(JSON.parse(result.stderr)).toMatchObject({
      error: { code: 'OPTION_REPEATED', fields: [{ field: '--model', option: '--model' }] },
    });
    const server = await serve({ listRuns: () => ({ runs: [], nextPageToken: '', total: 0 }) });
    expect((await espalier(server, 'runs', '--status', 'paused', '--status', 'failed')).exitCode).toBe(0);
  });

  test('a status is asked for by the word that tables show', async () => {
    const asked: v1.RunStatus[][] = [];
    const server = await serve({
      listRuns: ({ statuses }) => {
        asked.push(statuses);
        return { runs: [testRun({ status: v1.RunStatus.RUN_STATUS_RESTARTING })], nextPageToken: '', total: 1 };
      },
    });
    expect((await espalier(server, 'runs', '--status', 'restarting')).stdout).toContain('restarting');
    expect(asked).toEqual([[v1.RunStatus.RUN_STATUS_RESTARTING]]);
    const { stderr } = await espalier(server, 'runs', '--status', 'recover');
    expect(stderr.replaceAll(/\s+/g, ' ')).toContain('restarting');
  });

  test('types are asked of the server when following, too', async () => {
    const asked: string[][] = [];
    const server = await serve({
      async *watchHistory({ types }) {
        asked.push(types);
        throw refusal('FIELD_UNKNOWN_VALUE', '"X" is not a type of event', 'types');
        yield v1.WatchHistoryResponse.create();
      },
    });
    expect((await espalier(server, 'history', 'abcd', '--follow', '--types', 'RunPaused,X')).exitCode).toBe(2);
    expect(asked).toEqual([['RunPaused', 'X']]);
  });

  test('what is refused leaves no folder behind', async () => {
    const server = await serve({
      async *exportAudit() {
        throw refusal('RUN_NOT_FOUND', 'there is no run zzzz');
        yield v1.ExportAuditResponse.create();
      },
    });
    expect((await espalier(server, 'audit', 'export', 'zzzz', '--out', 'new/z.tar')).exitCode).toBe(3);
    expect(await readdir(folder)).toEqual([]);
  });

  test('metrics: a table, and every step into a file that is whole or not there', async () => {
    const server = await serve({
      queryMetrics: ({ maxPoints }) => ({ steps: testSteps(0, 3), totalSteps: 100n, downsampled: maxPoints > 0 }),
      async *exportMetrics({ format }) {
        yield { chunk: Buffer.from(`step (${format})\n`) };
        if (format === 'jsonl') throw refusal('EVENT_STORE_UNAVAILABLE', 'gone');
        yield { chunk: Buffer.from('0\n') };
      },
    });
    expect((await espalier(server, 'metrics', 'abcd')).stdout).toMatch(/STEP +LOSS +LAYER +KL .*\n +0 +1\.2500 +1\.1000[^]*3 of 100 steps/);
    expect((await espalier(server, 'metrics', 'abcd', '--export', 'csv')).stdout).toBe('step (csv)\n0\n');
    expect((await espalier(server, 'metrics', 'abcd', '--export', 'parquet', '--out', 'deep/m.parquet')).exitCode).toBe(0);
    expect(await readFile(join(folder, 'deep/m.parquet'), 'utf8')).toBe('step (parquet)\n0\n');
    expect((await espalier(server, 'metrics', 'abcd', '--export', 'jsonl', '--out', 'deep/m.jsonl')).exitCode).toBe(4);
    expect(await readdir(join(folder, 'deep'))).toEqual(['m.parquet']);
    expect((await espalier(server, 'metrics', 'abcd', '--export', 'xml')).exitCode).toBe(2);
  });

  test('a ladder with a budget out of reach shows the others, by the sizes of the format', async () => {
    const teacher = (mark: number, parameterCount: bigint) =>
      v1.Teacher.fromPartial({ mark, parameterCount, stateDigest: String(mark).repeat(64), weightBytes: 2n * parameterCount });
    const widest = (mark: number): bigint => (mark === 1 ? 1_900_000n : 1_200_000n); // filled up with zeros
    const server = await serve({
      getRun: () => ({ run: testRun({ runId: 'abcd' }) }),
      listTeachers: () => ({ teachers: [teacher(1, 1_400_000n), teacher(2, 1_000_000n)] }),
      async *evaluateRun() {
        yield v1.EvaluateRunResponse.fromPartial({ evaluation: { task: 'text', metric: 'perplexity', value: 7 } });
      },
      async *benchRun({ teacherMark = 0, format }) {
        const speed = (parameterCount: bigint) => ({ parameterCount, prefillSeconds: 1, passSeconds: 1, multiplications: parameterCount });
        const compact = speed(format === 'hf' ? widest(teacherMark) : teacher(teacherMark, 1n).parameterCount);
        yield v1.BenchRunResponse.fromPartial({ outcome: { dense: speed(2_000_000n), compact, rounds: 1 } });
      },
    });
    const ladder = (...more: string[]) => espalier(server, 'ladder', 'abcd', '--target-params', '1.5M,900k', ...more);
    const [plain, hf] = [await ladder(), await ladder('--format', 'hf')];
    expect(plain).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/#1 +1\.5M parameters/) });
    expect(plain.stdout).toContain('no model of the run keeps to 900k parameters; the smallest has 1M parameters');
    expect(hf.stdout).toMatch(/#2 +1\.5M parameters/);
    expect(hf.stdout).toContain('the smallest has 1.2M parameters');
    expect(await espalier(server, 'ladder', 'abcd', '--target-params', '900k')).toMatchObject({ exitCode: 3 });
  });

  test('teachers, lineage, diff', async () => {
    const server = await serve({
      listTeachers: () => ({
        teachers: [
          v1.Teacher.fromPartial({
            runId: 'abcd',
            mark: 1,
            step: 9n,
            expectedSparsity: 0.0101,
            hardSparsity: 0.01,
            stateDigest: 'ef'.repeat(32),
            bytes: 2_000_000n,
            abandoned: true,
          }),
        ],
      }),
      getLineage: () =>
        v1.GetLineageResponse.fromPartial({
          tree: [
            { runId: 'abcd', targetSparsity: 0.5, depth: 0, status: v1.RunStatus.RUN_STATUS_TRAINING, evaluating: true },
            {
              runId: 'child',
              parentRunId: 'abcd',
              forkedAtStep: 7n,
              depth: 1,
              targetSparsity: 0.45,
              budget: { setting: 'target_macs', asked: 55, intact: 100 },
            },
          ],
        }),
      compareRuns: () =>
        v1.CompareRunsResponse.fromPartial({
          settings: [{ field: 'target_sparsity', left: '0.5', right: '0.7' }],
          layers: [{ layer: 2, headsOnlyLeft: [1, 4], unitsOnlyRight: [7, 8, 9] }],
        }),
    });
    expect((await espalier(server, 'teachers', 'abcd')).stdout).toMatch(/#1 +9 +1\.01% +1\.00% +efefefefefef +1\.91 MiB .*abandoned/);
    expect((await espalier(server, 'lineage', 'abcd')).stdout).toMatch(
      /^abcd +evaluating, [^]*└─ child +forked at step 7, .*0\.0% of 45\.0% \(55\.0% of the multiply-adds\)/,
    );
    const differences = (await espalier(server, 'diff', 'abcd', 'wxyz')).stdout;
    expect(differences).toMatch(/target_sparsity +0\.5 +0\.7[^]*2 +0\.0% +0\.0% +1 4 +- +- +3/);
    const legend = 'ONLY: what that run keeps open and the other one has pruned';
    expect(differences).toContain(`${legend}; of units their number (--units names them)\n`);
    expect((await espalier(server, 'diff', 'abcd', 'wxyz', '--units')).stdout).toContain(`${legend}\n`);
  });
});

describe('watch', () => {
  test('plain lines without a terminal, and the exit code of the end', async () => {
    const server = await serve({
      async *watchRun() {
        yield v1.WatchRunResponse.fromPartial({ run: testRun(), steps: testSteps(0, 41), revision: 9n });
        yield {
          run: testRun({ status: v1.RunStatus.RUN_STATUS_FAILED, failure: { code: 'ENGINE_LOST', message: 'three times', field: '' } }),
          steps: [],
          revision: 10n,
          live: false,
        };
      },
    });
    const result = await espalier(server, 'watch', 'abcd');
    expect(result.exitCode).toBe(1);
    expect(result.stdout).toMatch(
      /^training {2}41\/100 .*ETA 59s.*sparsity 40\.0%.*teacher intact {2}loss 1\.250 {2}\(layer 1\.100, kl 0\.150 nats\)/,
    );
    expect(result.stdout).toMatch(/\(layer 1\.100, kl 0\.150 nats\) {2}Lagrangian 0\.000 {2}7\.00 k tok\/s\n/);
    expect(result.stdout).toMatch(/failed at step 40 of 100[^]*cause: ENGINE_LOST: three times/);
    expect(result.stdout).not.toContain('\r');
  });

  test('goes on where it was when the server comes back at another address', async () => {
    const asked: (bigint | undefined)[] = [];
    const answers: Answers = {
      async *watchRun({ afterRevision }, signal) {
        asked.push(afterRevision);
        yield { run: testRun(), steps: testSteps(0, 41), revision: 9n, live: false };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    };
    const first = await serve(answers);
    await announce(first);
    let restarted = false;
    const result = await runProcess(['--data-folder', join(folder, 'data'), 'watch', 'abcd'], {
      onOutput: (sofar) => {
        if (restarted || !sofar.includes('training')) return;
        restarted = true;
        first.stop();
        void sleep(600).then(async () =>
          announce(
            await serve({
              async *watchRun({ afterRevision }) {
                asked.push(afterRevision);
                const ended = { status: v1.RunStatus.RUN_STATUS_COMPLETED, step: 100n, hardSparsity: 0.5 };
                yield { run: testRun(ended), steps: [], revision: 20n, live: false };
              },
            }),
          ),
        );
      },
    });
    expect(result.stderr).toMatch(/^connection lost .*waiting for the server.*\nconnected again\n$/);
    expect(result.stdout).toMatch(/completed at step 100/);
    expect(result.exitCode).toBe(0);
    expect(asked).toEqual([undefined, 9n]);
  });

  test('an unknown run is told at once; JSON is one object a line; Ctrl-C leaves the run alone', async () => {
    const server = await serve({
      async *watchRun({ runId }, signal) {
        if (runId === 'none') throw refusal('RUN_NOT_FOUND', 'no run none');
        yield { run: testRun(), steps: [], revision: 9n, live: false };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    expect((await espalier(server, 'watch', 'none')).exitCode).toBe(3);
    const interrupted = await runProcess(['watch', 'abcd', '--json'], {
      env: { ESPALIER_SERVER: server.address },
      onOutput: (_, kill) => kill('SIGINT'),
    });
    expect(interrupted.exitCode).toBe(130);
    expect((JSON.parse(interrupted.stdout.trim()) as { run: { run_id: string } }).run.run_id).toBe('abcdefghij23');
  });
});

describe('a launch that is being prepared', () => {
  const preparation = { doing: 'tokenizing the training text', doneShare: 0.4 };
  const preparing = testRun({ status: v1.RunStatus.RUN_STATUS_PREPARING, preparation, step: 0n });
  const launch = ['launch', '--model', 'm', '--data', 'd'];
  const serveWith = (...then: v1.Run[]): Promise<TestServer> =>
    serve({
      launchRun: () => ({ run: preparing, alreadyLaunched: false, warnings: [] }),
      async *watchRun(_, signal) {
        for (const run of [preparing, ...then]) yield { run, steps: [], revision: 0n, live: false };
        if (then.length === 0) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });

  test('gives its id at once, and returns when it is prepared', async () => {
    const server = await serveWith(testRun({ status: v1.RunStatus.RUN_STATUS_QUEUED }));
    const result = await espalier(server, ...launch);
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(result.stdout).toMatch(/^launched abcdefghij23/);
    const json = JSON.parse((await espalier(server, ...launch, '--json')).stdout) as { status: string };
    expect(json.status).toMatch(/queued/i);
  });

  test('ends with what kept it from being prepared', async () => {
    const failure = { code: 'DATA_MALFORMED', message: 'd, line 3: not valid JSON', field: 'data.train_path' };
    const result = await espalier(await serveWith(testRun({ status: v1.RunStatus.RUN_STATUS_FAILED, failure })), ...launch);
    expect(result).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/DATA_MALFORMED: --data: d, line 3[^]*espalier delete abcdefghij23/),
    });
    expect(result.stdout).toMatch(/^launched abcdefghij23/);
  });

  test('that waits says for what; one that waits for a user ends the command', async () => {
    const wait = v1.Wait.fromPartial({ code: 'ARTIFACT_STORE_FULL', message: 'no room is left' });
    const cause = { code: 'MODEL_CACHE_FULL', message: '5 MiB are missing', command: 'espalier resume abcdefghij23' };
    const paused = testRun({ status: v1.RunStatus.RUN_STATUS_PAUSED, waitingFor: v1.Wait.fromPartial(cause), step: 0n });
    const server = await serveWith({ ...preparing, waitingFor: wait }, preparing, { ...preparing, waitingFor: wait }, paused);
    const result = await espalier(server, ...launch);
    expect(result.exitCode).toBe(1);
    expect(result.stderr.match(/the run waits for ARTIFACT_STORE_FULL: no room is left; it goes on by itself/g)).toHaveLength(1);
    expect(result.stderr).toMatch(/MODEL_CACHE_FULL: 5 MiB are missing[^]*go on with: espalier resume abcdefghij23/);
  });

  test('has failed by the time the launch is answered, where little is read', async () => {
    const failure = { code: 'TOKENIZER_INVALID', message: 'no JSON', field: 'model_path' };
    const failed = testRun({ status: v1.RunStatus.RUN_STATUS_FAILED, failure });
    const answer = { run: failed, alreadyLaunched: false, warnings: [] };
    const server = await serve({ launchRun: () => answer, forkRun: () => answer });
    for (const command of [launch, ['fork', 'abcd', '--last']]) {
      const result = await espalier(server, ...command);
      expect(result).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/TOKENIZER_INVALID: (--model: )?no JSON/) });
    }
  });

  test('goes on after Ctrl-C, which says how to end it', async () => {
    const server = await serveWith();
    let sent = false; // a second signal would end the command before its last words
    const onOutput = (_: string, kill: (signal: NodeJS.Signals) => void): void => {
      if (!sent) kill('SIGINT');
      sent = true;
    };
    const result = await runProcess(launch, { env: { ESPALIER_SERVER: server.address }, onOutput });
    expect(result.exitCode).toBe(130);
    expect(result.stdout).toMatch(/run abcdefghij23 goes on; cancel it with: espalier cancel abcdefghij23/);
  });

  test('is shown with its share', async () => {
    const server = await serve({
      listRuns: () => ({ runs: [preparing], nextPageToken: '', total: 1 }),
      getRun: () => ({ run: preparing }),
    });
    expect((await espalier(server, 'runs')).stdout).toMatch(/preparing, 40%/);
    expect((await espalier(server, 'show', 'abcd')).stdout).toMatch(/tokenizing the training text, 40\.0% of the text is done/);
  });
});

describe('results', () => {
  test('export: every file arrives whole under its name', async () => {
    const { answers, contents } = testExport();
    const server = await serve(answers);
    const result = await espalier(server, 'export', 'abcd', '--out', 'out/model');
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await readdir(join(folder, 'out'))).toEqual(['model']);
    expect((await readdir(join(folder, 'out/model'))).sort()).toEqual(['config.json', 'espalier-export.json', 'model.safetensors']);
    for (const [name, content] of contents) expect(Buffer.compare(await readFile(join(folder, 'out/model', name)), content)).toBe(0);
    const again = await espalier(server, 'export', 'abcd', '--out', 'out/model');
    expect(again.exitCode).toBe(5);
    expect(again.stderr).toMatch(/FOLDER_EXISTS[^]*--force/);
  });

  test('export: a download goes on where the connection broke, also when the server comes back elsewhere, and is whole', async () => {
    const { answers, contents } = testExport();
    const asked: bigint[] = [];
    let breaks = 2;
    const breaking: Answers = {
      ...answers,
      async *downloadArtifact(request, signal) {
        if (request.digest !== (await answers.statArtifact({ digest: '' })).files[1]!.digest)
          return yield* answers.downloadArtifact(request, signal);
        asked.push(request.offset);
        let sent = 0;
        for await (const response of answers.downloadArtifact(request, signal)) {
          if (sent > 0 && breaks > 0) {
            breaks -= 1;
            while (!hasWritten(Number(request.offset) + sent)) await sleep(20);
            servers.pop()!.stop();
            await announce(await serve(breaking));
          }
          sent += response.chunk.length;
          yield response;
        }
      },
    };
    const hasWritten = (bytes: number): boolean =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).some(
        (name) => name.endsWith('model.safetensors') && statSync(join(folder, name)).size >= bytes,
      );
    await announce(await serve(breaking));
    const result = await runCli(['--data-folder', join(folder, 'data'), 'export', 'abcd', '--out', join(folder, 'model')]);
    expect(result.exitCode).toBe(0);
    expect(result.stderr.match(/connection lost|connected again/g)).toEqual([
      'connection lost',
      'connected again',
      'connection lost',
      'connected again',
    ]);
    expect(asked).toEqual([0n, 1n << 20n, 2n << 20n]);
    for (const [name, content] of contents) expect(Buffer.compare(await readFile(join(folder, 'model', name)), content)).toBe(0);
  });

  test('export: a flipped byte, a lost file, a name that leads outside: nothing is left', async () => {
    const { answers, contents } = testExport();
    const server = await serve({
      ...answers,
      async *downloadArtifact(request, signal) {
        for await (const response of answers.downloadArtifact(request, signal)) {
          if (response.chunk.length > 1000) response.chunk[17]! ^= 1;
          yield response;
        }
      },
    });
    const flipped = await espalier(server, 'export', 'abcd', '--out', 'model');
    expect(flipped.exitCode).toBe(1);
    expect(flipped.stderr).toMatch(/ARTIFACT_CORRUPT: model\.safetensors arrived with digest/);
    contents.clear();
    expect((await espalier(server, 'export', 'abcd', '--out', 'model')).exitCode).toBe(3);
    const evil = await serve({
      ...answers,
      statArtifact: () => v1.StatArtifactResponse.fromPartial({ files: [{ name: '../evil', bytes: 1n, digest: 'ab'.repeat(32) }] }),
    });
    expect((await espalier(evil, 'export', 'abcd', '--out', 'model')).stderr).toMatch(/EXPORT_INVALID/);
    expect(await readdir(folder)).toEqual([]);
  });

  test('eval and verify', async () => {
    const asked: unknown[] = [];
    const server = await serve({
      async *evaluateRun(request) {
        asked.push(request);
        yield v1.EvaluateRunResponse.fromPartial({
          doneShare: 1,
          evaluation: {
            ...{ subject: 'masked', task: 'text', metric: 'perplexity', value: 6.8281, n: 104_805n },
            ...{ convention: 'windows of 256 tokens', step: 100n },
          },
        });
      },
      async *verifyRun(request) {
        asked.push(request);
        yield v1.VerifyRunResponse.fromPartial({ check: 'chain', ok: true });
        yield v1.VerifyRunResponse.fromPartial({ check: 'steps', notChecked: true, detail: "not checked: event 7 can't be read" });
        yield v1.VerifyRunResponse.fromPartial({ check: 'artifacts', subject: 'artifact abc', ok: false, detail: 'holds other bytes' });
        yield v1.VerifyRunResponse.fromPartial({
          doneShare: 1,
          summary: {
            ok: false,
            events: 100n,
            metricsBatches: 25n,
            artifacts: 3n,
            problems: ['x'],
            firstDivergentStep: 12n,
            firstDivergentTensor: 'lora.0.q',
          },
        });
      },
    });
    expect((await espalier(server, 'eval', 'abcd', '--teacher', '30')).stdout).toMatch(
      /^perplexity 6\.8281 \(masked, step 100, windows of 256 tokens, over 104,805\)/,
    );
    const verified = await espalier(server, 'verify', 'abcd', '--replay', '10..20', '--tolerance', '1e-3');
    expect(verified.exitCode).toBe(1);
    const verdicts = [
      /wrong {2}artifacts {2}artifact abc: holds other bytes/,
      /ok +chain: 1 good\nopen +steps: not checked: event 7 can't be read\n/,
      /first difference at step 12 in lora\.0\.q/,
      /: 75 events, 25 batches of metrics, 3 artifacts/,
    ];
    expect(verified.stdout).toMatch(new RegExp(verdicts.map(({ source }) => source).join('[^]*')));
    expect(asked).toMatchObject([{ teacherMark: 30 }, { replay: true, fromStep: 10n, toStep: 20n, tolerance: 1e-3 }]);
  });

  test('what a server lacks is said as such', async () => {
    const result = await espalier(await serve({}), 'views', 'rebuild');
    expect(result.stderr).toMatch(/NOT_SUPPORTED/);
    expect(result.exitCode).toBe(1);
  });
});

test('audit check and down need no server', async () => {
  expect((await runCli(['audit', 'check', join(folder, 'none.tar')])).exitCode).toBe(3);
  expect((await runCli(['audit', 'check', folder])).stderr).toMatch(/FILE_NOT_REGULAR/);
  execFileSync('mkfifo', [join(folder, 'fifo.tar')]); // opening it for reading would block for ever
  expect(await runCli(['audit', 'check', join(folder, 'fifo.tar')])).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/a FIFO/),
  });
  const key = ['--public-key', '/dev/zero'];
  expect(await runCli(['audit', 'check', join(folder, 'none.tar'), ...key])).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/FILE_NOT_REGULAR/),
  });
  await writeFile(join(folder, 'bad.tar'), 'no bundle at all');
  expect((await runCli(['audit', 'check', join(folder, 'bad.tar')])).exitCode).toBe(1);
  const down = await runCli(['down', '--data-folder', folder]);
  expect(down).toMatchObject({ exitCode: 0, stdout: `no server runs on ${folder}\n` });
  expect(JSON.parse((await runCli(['--version', '--json'])).stdout)).toEqual({ version: (await runCli(['--version'])).stdout.trim() });
});

test('help teaches by example, for each command', async () => {
  const { stdout, exitCode } = await runCli(['--help']);
  expect(exitCode).toBe(0);
  const names = [...stdout.matchAll(/^ {2}([a-z]+)(?:\|ls)? (?:\[options\]|  )/gm)].map((match) => match[1]!);
  expect(names.length).toBeGreaterThan(20);
  for (const name of ['launch', 'fork', 'watch', 'verify', 'export', 'quickstart'])
    expect((await runCli([name, '--help'])).stdout).toMatch(/Examples:\n {2}\$ (espalier|npm)/);
});

test('docs/commands.md shows each command', async () => {
  const { commands } = JSON.parse((await runCli(['help', '--json'])).stdout) as { commands: { name: string }[] };
  const page = await readFile(new URL('../../../../docs/commands.md', import.meta.url), 'utf8'); // seen from dist
  expect(commands.length).toBeGreaterThan(20);
  expect(commands.map(({ name }) => name).filter((name) => !page.includes(`npx espalier ${name}`))).toEqual([]);
});
