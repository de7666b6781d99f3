// Tests that the output of commands fits the terminal, and holds nothing that acts upon it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import stringWidth from 'string-width';
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { refusal, testExport, testRun, testSteps, TestServer, type Answers } from '../testing/test-server.js';

let folder: string;
let servers: TestServer[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'narrow-'));
});
afterEach(async () => {
  for (const server of servers) server.stop();
  servers = [];
  await rm(folder, { recursive: true, force: true });
});

async function espalier(answers: Answers, columns: number, ...args: string[]): Promise<CliResult> {
  const server = await TestServer.start(answers);
  servers.push(server);
  return runCli(args, { env: { ESPALIER_SERVER: server.address, COLUMNS: String(columns) }, cwd: folder });
}

const NAME = '長い名前の実行 👩‍🔬 with a long name that goes on and on, as names do when people sweep over settings';
function answersWith(name: string): Answers {
  const lists = { loraTargets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] };
  const run = testRun({
    name,
    settings: { ...testRun().settings!, ...lists },
    modelPath: `/models/${'deep/'.repeat(3)}llama`,
    evaluations: [
      v1.Evaluation.fromPartial({
        subject: 'masked',
        perplexity: 6.8281,
        negativeLogLikelihood: 1.92,
        predictions: 104_805n,
        step: 100n,
        window: 256,
      }),
      v1.Evaluation.fromPartial({
        subject: `export:${'ab'.repeat(32)}`,
        perplexity: 6.8281,
        predictions: 104_805n,
        step: 100n,
        window: 256,
      }),
    ],
    exports: [
      v1.ModelExport.fromPartial({ digest: 'cd'.repeat(32), form: 'compacted', dtype: 'bf16', parameterCount: 1_700_000n, step: 100n }),
    ],
  });
  const events = ['RunLaunched', 'TeacherSnapshotted'].map((type, index) =>
    v1.HistoryEvent.fromPartial({
      runId: run.runId,
      revision: BigInt(index),
      type,
      knownType: true,
      summary: `${name}: teacher 31 at step 1234 with 41.20% expected and 40.90% hard sparsity, state abababababab`,
      recordedAt: new Date(0),
    }),
  );
  const teacher = v1.Teacher.fromPartial({ runId: run.runId, mark: 31, step: 1234n, expectedSparsity: 0.412, hardSparsity: 0.409 });
  return {
    ...testExport().answers,
    getRun: () => ({ run }),
    listRuns: () => ({ runs: [run, run], nextPageToken: '', total: 2 }),
    launchRun: () => ({ run, alreadyLaunched: false, warnings: [] }),
    forkRun: () => {
      const data = { validationPath: '/data/deep/validation.jsonl' };
      return v1.ForkRunResponse.fromPartial({ run: { ...run, parentRunId: 'abcdefghijkl', forkedAtStep: 1234n, data } });
    },
    cancelRun: () => ({ run: { ...run, status: v1.RunStatus.RUN_STATUS_CANCELLED, step: 1234n, teacherCount: 31 } }),
    readHistory: () => ({ events, nextRevision: undefined }),
    queryMetrics: () => ({ steps: testSteps(0, 3), totalSteps: 3n, downsampled: false }),
    listTeachers: () => ({ teachers: [{ ...teacher, stateDigest: 'ef'.repeat(32), bytes: 2_000_000n, abandoned: true, inherited: true }] }),
    getLineage: () =>
      v1.GetLineageResponse.fromPartial({
        tree: [
          { runId: run.runId, name, depth: 0 },
          { runId: 'bbbbbbbbbbbb', name, depth: 1 },
        ],
      }),
    getDiskUsage: () => {
      const bytes = 1_234_567_890n;
      const sizes = { statesBytes: bytes, exportsBytes: bytes, tokensBytes: bytes, sharedBytes: bytes, reclaimableBytes: bytes };
      const usage = { runId: run.runId, name, status: v1.RunStatus.RUN_STATUS_COMPLETED, ...sizes };
      return v1.GetDiskUsageResponse.fromPartial({ runs: [usage], unneededBytes: bytes, artifactsBytes: bytes, sharedBytes: bytes });
    },
    planRun: () =>
      v1.PlanRunResponse.fromPartial({
        settings: run.settings,
        memory: {},
        disk: { teachers: 1 },
        warnings: [{ message: 'in 3 steps at mask_learning_rate 0.1 the masks can reach at most 5%, '.repeat(3) }],
      }),
    listEngines: () =>
      v1.ListEnginesResponse.fromPartial({
        engines: [
          {
            name: 'unix:/run/user/1000/the-first.sock',
            status: v1.EngineStatus.ENGINE_STATUS_ATTACHED_ELSEWHERE,
            heldBy: 'process 12345 on a-machine-with-a-long-name.example',
            backend: 'cpu',
            device: 'AMD EPYC 9654 96-Core Processor',
            threads: 1,
            memoryAvailableBytes: 1n << 36n,
            residentBytes: 1n << 32n,
            losses: 3,
          },
        ],
      }),
    compareRuns: () =>
      v1.CompareRunsResponse.fromPartial({
        settings: [{ field: 'lora_targets', left: name, right: 'q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj' }],
        layers: [{ layer: 2, headsOnlyLeft: [1, 4], unitsOnlyRight: Array.from({ length: 40 }, (_, index) => index) }],
      }),
  };
}

const TABLES: string[][] = [
  ['runs'],
  ['launch', '--model', 'm', '--data', 'd'],
  ['fork', 'abcd', '--last'],
  ['cancel', 'abcd'],
  ['show', 'abcd'],
  ['history', 'abcd'],
  ['teachers', 'abcd'],
  ['metrics', 'abcd'],
  ['lineage', 'abcd'],
  ['diff', 'abcd', 'wxyz', '--units'],
  ['export', 'abcd', '--out', 'm'],
  ['du'],
  ['plan', '--model', 'm'],
  ['plan', 'abcd', '--last'],
  ['engines'],
  ['status'],
];

describe.each([60, 80, 120, 200])('%i columns', (columns) => {
  test.each(TABLES)('%s', async (...args) => {
    const { stdout, stderr, exitCode } = await espalier(answersWith(NAME), columns, ...args);
    expect(exitCode).toBe(0);
    expect(`${stdout}${stderr}`.split('\n').filter((line) => stringWidth(line) > columns)).toEqual([]);
    expect(stdout.trim()).not.toBe('');
  });
});

test('the note about runs whose heads and units are not known fits the terminal', async () => {
  const compareRuns = () => v1.CompareRunsResponse.fromPartial({ layers: [{ layer: 2, sparsityLeft: 0.5 }] });
  const { stdout } = await espalier({ compareRuns }, 60, 'diff', 'abcd', 'wxyz');
  expect(stdout).toMatch(/which heads and units differ is not known/);
  expect(stdout.split('\n').filter((line) => stringWidth(line) > 60)).toEqual([]);
});

const REFUSING: Answers = {
  getRun: () => {
    throw refusal('RUN_NOT_FOUND', `there is no run of this name, ${'and a long sentence says so, '.repeat(5)}as it is`, 'run_id');
  },
};

test.each([
  ['of the server', ['show', 'abcd']],
  ['of the command, with a hint', ['fork', 'abcd']],
  ['of a wrong value', ['runs', '--status', 'x']],
])('an error %s fits the terminal', async (_, args) => {
  const { stderr } = await espalier(REFUSING, 60, ...args);
  expect(stderr.split('\n').filter((line) => stringWidth(line) > 60)).toEqual([]);
  expect(stderr.trim().split('\n').length).toBeGreaterThan(1);
});

test('what is not for a screen is not fitted to one', async () => {
  for (const [answers, command] of [
    [answersWith(NAME), 'history'],
    [REFUSING, 'show'],
  ] as const) {
    const server = await TestServer.start(answers);
    servers.push(server);
    const { stdout, stderr } = await runCli([command, 'abcd'], { env: { ESPALIER_SERVER: server.address } });
    expect(`${stdout}${stderr}`.trim().split('\n')).toHaveLength(command === 'show' ? 1 : 2);
  }
});

const HOSTILE = '\u001b]0;owned\u0007\u001b[2J\nerror \u202egnp\u200b\u009b31m';

describe('text from outside', () => {
  const acting = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/;
  test.each(TABLES.slice(0, 6))('%s shows what it would hide', async (...args) => {
    const { stdout } = await espalier(answersWith(HOSTILE), 200, ...args);
    expect(stdout).not.toMatch(acting);
  });

  test('runs: visible for people, exact and escaped for programs', async () => {
    const { stdout } = await espalier(answersWith(HOSTILE), 200, 'runs');
    expect(stdout).toContain('\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\nerror \\u{202e}gnp\\u{200b}\\u{9b}31m'.slice(0, 40));
    const json = await espalier(answersWith(HOSTILE), 200, 'runs', '--json');
    expect(json.stdout).not.toMatch(acting);
    expect((JSON.parse(json.stdout) as { runs: { name: string }[] }).runs[0]!.name).toBe(HOSTILE);
  });

  test('errors of the server, of the disk, and of the command line', async () => {
    const refusing: Answers = {
      getRun: () => {
        throw refusal('RUN_NOT_FOUND', `there is no run ${HOSTILE}`, 'run_id');
      },
    };
    const told = await espalier(refusing, 80, 'show', 'abcd');
    expect(told.stderr).toMatch(/^error RUN_NOT_FOUND: there is no run \\u\{1b\}/);
    await writeFile(join(folder, 'bad\u001b[2J'), 'x');
    for (const args of [
      ['show', 'abcd'],
      ['audit', 'check', 'none\u001b[2J'],
      ['audit', 'check', 'bad\u001b[2J'],
      ['runs', '--order\u001b[2J'],
      ['sh\u001b[2Jw'],
      ['up', '--detach', '--data-folder', '/dev/null/\u001b[2J'],
    ]) {
      const { stdout, stderr } = await espalier(refusing, 80, ...args);
      expect(stdout + stderr).not.toMatch(acting);
    }
    expect((await espalier(refusing, 80, 'show', 'abcd', '--json')).stderr).not.toMatch(acting);
  });

  test('a watched run', async () => {
    const run = testRun({ status: v1.RunStatus.RUN_STATUS_FAILED, failure: { code: 'ENGINE_LOST', message: HOSTILE, field: '' } });
    const { stdout, stderr } = await espalier(
      {
        async *watchRun() {
          yield v1.WatchRunResponse.fromPartial({ run, revision: 9n });
        },
      },
      80,
      'watch',
      'abcd',
    );
    expect(stdout + stderr).not.toMatch(acting);
    expect(stdout).toContain('\\u{1b}]0;owned');
  });
});

describe('evaluations of one model that differ in one thing alone are told apart at 80 columns', () => {
  const shown = async (evaluations: Partial<v1.Evaluation>[]): Promise<string[]> => {
    const one = {
      subject: 'masked',
      task: 'text',
      metric: 'perplexity',
      value: 5,
      dataPath: 'v.jsonl',
      convention: 'windows of 128 tokens',
    };
    const run = v1.Run.fromPartial({
      ...testRun(),
      data: { validationPath: 'v.jsonl' },
      evaluations: evaluations.map((of) => ({ ...one, n: 104_805n, headline: true, evaluatedAt: new Date(0), ...of })),
    });
    const { stdout } = await espalier({ getRun: () => ({ run }) }, 80, 'show', 'abcd');
    const lines = stdout.trimEnd().split('\n');
    return lines.slice(lines.findIndex((line) => line.startsWith('EVALUATED')) + 1);
  };

  test('by their windows', async () => {
    const lines = await shown([{}, { convention: 'windows of 256 tokens' }]);
    expect(lines.join('\n')).toMatch(/of 128[^]*of 256/);
    expect(lines.join('\n').match(/ validation /g)).toHaveLength(2); // no word is broken
  });

  test('by how much of a text they read', async () => {
    const lines = await shown([{ dataDigest: 'a'.repeat(64) }, { dataDigest: 'b'.repeat(64) }]);
    expect(lines.join('\n')).toMatch(/\(a{12}\)[^]*\(b{12}\)/);
  });
});

test('names of runs can be read at 60 columns', async () => {
  const { stdout } = await espalier(answersWith('sweep of rates: high, seed 7'), 60, 'runs');
  expect(stdout).toContain('sweep of rates');
});
