// Tests the output of `frontier` against a server of the public protocol.
import stringWidth from 'string-width';
import { v1 } from '#protocol';
import { readStudy } from '#run-files';
import { runCli } from '../../testing/run-cli.js';
import { TestServer } from '../../testing/test-server.js';

let server: TestServer | undefined;
let asked: v1.QueryFrontierRequest | undefined;
afterEach(() => server?.stop());

const point = (share: number, kl: number, layerWidths: string): v1.FrontierPoint =>
  v1.FrontierPoint.fromPartial({
    share,
    kl,
    layerWidths,
    parameters: BigInt(Math.round(share * 134_515_008)),
    sparsity: 1.2 * (1 - share),
    weightBytes: BigInt(Math.round(share * 269_000_000)),
    multiplyAddShare: share,
  });

async function frontier(...args: string[]): Promise<{ stdout: string; stderr: string; exitCode: number | null }> {
  const launched = v1.Run.fromPartial({
    runId: 'aaaabbbbcccc',
    name: 'a run with a rather long name for its table',
    status: v1.RunStatus.RUN_STATUS_COMPLETED,
    settings: { recoverSteps: 120, layerWidths: '9/1536,6/768' },
    result: { parameterCount: 99_973_440n },
    evaluations: [{ headline: true, perplexity: 25.87 }],
  });
  server?.stop();
  server = await TestServer.start({
    queryFrontier: (request) => {
      asked = request;
      return v1.QueryFrontierResponse.fromPartial({
        points: [point(0.9, 0.21, '9/1536,9/1344'), point(0.74, 0.77, '9/1536,6/768'), point(0.74, 0.79, '6/1536,6/1152')],
        intactParameters: 134_515_008n,
        runs: [{ run: launched, kl: 0.77 }, { run: v1.Run.fromPartial({ runId: 'ddddeeeeffff', name: 'queued' }) }],
      });
    },
    getRun: () =>
      v1.GetRunResponse.fromPartial({
        run: {
          runId: 'ssssccccaaaa',
          name: 'layers: "all"',
          modelPath: '/models/smol',
          data: { trainPath: '/data/train.jsonl', validationPath: '/data/valid.jsonl', textColumn: 'body' },
        },
      }),
  });
  return runCli(['frontier', 'layers', ...args], { env: { ESPALIER_SERVER: server.address, COLUMNS: '80', LANG: 'C.UTF-8' } });
}

test('the choices and the runs fit 80 columns, with what each loses', async () => {
  const { stdout } = await frontier('--shares', '0.9,0.74', '--choices', '2', '--for', 'vllm', '--widths');
  expect(asked).toMatchObject({ shares: [0.9, 0.74], choices: 2, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_VLLM });
  for (const line of stdout.split('\n')) expect(stringWidth(line)).toBeLessThanOrEqual(80);
  expect(stdout).toMatch(/99[,.]5\d+[,.]\d+ +74\.0%.*0\.7700/);
  expect(stdout).toMatch(/a run with.* 99,973,440 +0\.7700 +120 +25\.87/);
  expect(stdout).toMatch(/queued .* - +- +0 +-/);
  expect(stdout).toContain(' 6/1536,6/1152');
});

test('as a study it prints runs that prune by each choice and train nothing', async () => {
  const { stdout } = await frontier('--shares', '0.9,0.74', '--choices', '2', '--study');
  const { request } = readStudy('/tmp/choices.yaml', stdout, '<file>');
  expect(request.name).toBe('choices of layers: "all"');
  expect(request.runs.map(({ variant }) => variant)).toEqual(['90.0% choice 1', '74.0% choice 1', '74.0% choice 2']);
  expect(request.runs.map(({ settings }) => settings!.layerWidths)).toEqual(['9/1536,9/1344', '9/1536,6/768', '6/1536,6/1152']);
  for (const { modelPath, data, settings } of request.runs) {
    expect(modelPath).toBe('/models/smol');
    expect(data).toMatchObject({ trainPath: '/data/train.jsonl', validationPath: '/data/valid.jsonl', textColumn: 'body' });
    expect(settings).toMatchObject({ library: 'ssssccccaaaa', recoverSteps: 0 });
  }
});

test('mistakes in its options are told', async () => {
  for (const wrong of [
    ['--shares', '2'],
    ['--choices', 'many'],
    ['--for', 'onnx'],
  ])
    expect((await frontier(...wrong)).exitCode).toBe(2);
});
