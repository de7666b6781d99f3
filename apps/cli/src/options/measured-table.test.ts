// Tests launch and plan with --on, against a server of the public protocol: a speed table is measured, and then the run uses it.
import { v1 } from '#protocol';
import type { Context } from '../command-context.js';
import type { MeasuredOn, RunFile } from './run-file.js';
import { settingsWithTable } from './table-options.js';
import { describeTerminal } from '../output/terminal.js';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { refusal, testRun, TestServer } from '../testing/test-server.js';

const DIGEST = 'ab'.repeat(32);
const TABLE = { passSeconds: 0.00616, passSpread: 0.012, device: 'cpu', context: 512, tableDigest: DIGEST };
let server: TestServer;
/** The requests, in the order of the calls. */
let asked: object[] = [];
let answer: () => v1.MeasureSpeedTableResponse;
beforeAll(async () => {
  server = await TestServer.start({
    measureSpeedTable: (request) => {
      asked.push(request);
      return answer();
    },
    launchRun: (request) => {
      asked.push(request);
      return v1.LaunchRunResponse.fromPartial({ run: { ...testRun(), settings: request.settings } });
    },
    planRun: (request) => {
      asked.push(request);
      return v1.PlanRunResponse.fromPartial({ memory: { totalBytes: 1n, availableBytes: 2n }, settings: request.settings });
    },
  });
});
beforeEach(() => {
  asked = [];
  answer = () => v1.MeasureSpeedTableResponse.fromPartial(TABLE);
});
afterAll(() => server.stop());

const espalier = (command: string): Promise<CliResult> =>
  runCli(command.split(' '), { env: { ESPALIER_SERVER: server.address, COLUMNS: '80' } });

test('a table is measured as it is asked for, and the launch names it by its digest', async () => {
  const { exitCode, stdout, stderr } = await espalier(
    'launch --model /m --data /d --target-speedup 1.6 --on cpu --phase prefill --context 512 --batch 4',
  );
  expect(exitCode).toBe(0);
  expect(asked).toMatchObject([
    // The request names the run that the table is for, so that the server refuses mistakes in the run first.
    { modelPath: '/m', on: 'cpu', phase: 'prefill', context: 512, batch: 4, data: { trainPath: '/d' }, settings: { targetSpeedup: 1.6 } },
    { modelPath: '/m', settings: { targetSpeedup: 1.6, speedTable: DIGEST } },
  ]);
  expect(stderr).toContain('prefill at context 512 on cpu: 6.160 ms for the intact model, give or take 1.2%');
  expect(stderr).toContain(`--speed-table ${DIGEST}`);
  expect(stdout).toContain('launched');
});

test('a plan measures too, and its result is all that --json writes to standard output', async () => {
  const { exitCode, stdout } = await espalier('plan --model /m --target-speedup 1.6 --on cuda:0 --json');
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toHaveProperty('memory');
  expect(asked).toMatchObject([
    { on: 'cuda:0', phase: '', context: 0, batch: 0 },
    { settings: { targetSpeedup: 1.6, speedTable: DIGEST } },
  ]);
});

test('uneven times launch nothing, and say why', async () => {
  const problem = 'by_units.down: width 160 takes 2 s, less than the narrower width 80 with 3 s';
  answer = () => v1.MeasureSpeedTableResponse.fromPartial({ ...TABLE, problem });
  const { exitCode, stderr } = await espalier('launch --model /m --data /d --target-speedup 1.6 --on cpu');
  expect(exitCode).toBe(1);
  expect(stderr.replace(/\s+/g, ' ')).toContain(`SPEED_TABLE_INVALID: --on: the times measured on cpu are too uneven to go by: ${problem}`);
  expect(asked).toHaveLength(1);
});

test("the server's refusal names the option", async () => {
  answer = () => {
    throw refusal('FIELD_UNKNOWN_VALUE', 'is "cuda:7", but the server\'s engines compute on cpu', 'on');
  };
  const { exitCode, stderr } = await espalier('launch --model /m --data /d --target-speedup 1.6 --on cuda:7');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('--on: is "cuda:7"');
});

test.each<[string, MeasuredOn & object, string, string]>([
  ['no speed', { on: 'cpu' }, 'OPTION_REQUIRED', '--on needs --target-speedup'],
  ['another target', { on: 'cpu', ...{ targetParams: 1e6 } }, 'OPTION_REQUIRED', '--on needs --target-speedup'],
  ['a table too', { on: 'cpu', ...{ targetSpeedup: 2, speedTable: '/a' } }, 'OPTIONS_CONFLICT', '--on is given beside --speed-table'],
  ['no device', { context: 9, ...{ targetSpeedup: 2 } }, 'OPTIONS_CONFLICT', '--context is of no use without --on'],
  ['an id', { on: 'cpu', ...{ targetSpeedup: 2, requestId: 'x' } }, 'OPTIONS_CONFLICT', '--on measures another table each time'],
])('with %s it is refused before anything is measured', async (_, options, code, words) => {
  const message = expect.stringContaining(words) as string;
  await expect(settingsWithTable({} as Context, options, { settings: {} }, '/m')).rejects.toMatchObject({ code, message, exitCode: 2 });
});

test('options count before the measurement and the table of a file', async () => {
  const measured = async (options: object, file: RunFile) => {
    asked = [];
    const connection = {
      call: (_client: unknown, _method: unknown, request: object) => {
        asked.push(request);
        return Promise.resolve(answer());
      },
      engines: {},
    };
    const output = { terminal: describeTerminal() };
    const { speedTable } = await settingsWithTable(
      { connection, output } as unknown as Context,
      options,
      file,
      '/m',
      undefined,
      () => undefined,
    );
    return { asked, speedTable };
  };
  const file: RunFile = { measure: { on: 'cpu', context: 512 }, settings: { targetSpeedup: 1.6 } };
  expect(await measured({}, file)).toMatchObject({ asked: [{ on: 'cpu', context: 512 }], speedTable: DIGEST });
  expect(await measured({ context: 64 }, file)).toMatchObject({ asked: [{ on: 'cpu', context: 64 }] });
  expect(await measured({ speedTable: '/a.json' }, file)).toEqual({ asked: [], speedTable: '/a.json' });
  expect(await measured({ targetSparsity: 0.5 }, file)).toEqual({ asked: [], speedTable: '' });
  const withTable: RunFile = { settings: { targetSpeedup: 1.6, speedTable: '/a.json' } };
  expect(await measured({ on: 'cuda:0' }, withTable)).toMatchObject({ asked: [{ on: 'cuda:0' }], speedTable: DIGEST });
});
