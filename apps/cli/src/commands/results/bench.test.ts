// Tests the output of `bench` against a server of the public protocol.
import { v1 } from '#protocol';
import { runCli } from '../../testing/run-cli.js';
import { testRun, TestServer } from '../../testing/test-server.js';

let server: TestServer | undefined;
afterEach(() => server?.stop());

test('the times of a pruned model stand with their intervals, and the measured speed beside the target', async () => {
  const as = (times: number, low: number, high: number): v1.SpeedUp => ({ times, low, high });
  const dense = v1.ModelSpeed.fromPartial({ parameterCount: 2000n, prefillSeconds: 0.1, passSeconds: 0.01 });
  const compact = v1.ModelSpeed.fromPartial({
    parameterCount: 1000n,
    prefillSeconds: 0.08,
    passSeconds: 0.01 / 0.97,
    prefillSpeedUp: as(1.25, 1.2, 1.3),
    decodeSpeedUp: as(0.97, 0.95, 0.99),
  });
  const speed = v1.SpeedMeasured.fromPartial({ phase: 'decode', device: 'cpu', batch: 1, context: 64 });
  const budget = v1.Budget.fromPartial({ setting: 'target_speedup', unit: 'seconds', asked: 0.5, intact: 1, intactSize: 1, speed });
  server = await TestServer.start({
    getRun: () => ({ run: testRun({ budget }) }),
    async *benchRun() {
      yield v1.BenchRunResponse.fromPartial({ outcome: { dense, compact, rounds: 5, computeDtype: 'bf16', copyBytesPerSecond: 1e9 } });
    },
  });
  const { stdout } = await runCli(['bench', 'abcd'], { env: { ESPALIER_SERVER: server.address, COLUMNS: '200' } });
  expect(stdout).toMatch(/^intact .* 100\.00 ms +100 tokens\/s$/m);
  expect(stdout).toMatch(/^pruned .* 80\.00 ms \(76\.92 to 83\.33\) +97 tokens\/s \(95 to 99\)$/m);
  expect(stdout).toContain('measured 0.97x (0.95 to 0.99)');
});
