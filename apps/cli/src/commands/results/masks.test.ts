// Tests the output of `masks` against a server of the public protocol.
import stringWidth from 'string-width';
import { v1 } from '#protocol';
import { runCli } from '../../testing/run-cli.js';
import { TestServer } from '../../testing/test-server.js';

const { MASK_KIND_HEADS, MASK_KIND_UNITS, MASK_KIND_HIDDEN } = v1.MaskKind;
const STEPS = Array.from({ length: 18 }, (_, index) => BigInt(1000 * index));

function series(kind: v1.MaskKind, layer: number, size: number, more: Partial<v1.MaskSeries> = {}): v1.MaskSeries {
  const open = STEPS.map((_, index) => Math.round(size * (1 - index / 17)));
  return v1.MaskSeries.fromPartial({ kind, layer, size, open, ...more });
}

let server: TestServer | undefined;
let asked: v1.QueryMasksRequest | undefined;
afterEach(() => server?.stop());
async function masks(answer: Partial<v1.QueryMasksResponse>, ...args: string[]): Promise<{ stdout: string; exitCode: number | null }> {
  server = await TestServer.start({
    queryMasks: (request) => {
      asked = request;
      return v1.QueryMasksResponse.fromPartial({ steps: STEPS, totalPoints: 200n, downsampled: true, ...answer });
    },
  });
  return runCli(['masks', 'abcd', ...args], { env: { ESPALIER_SERVER: server.address, COLUMNS: '80', LANG: 'C.UTF-8' } });
}

test('maps of a large model fit 80 columns, from full to nothing', async () => {
  const layers = [0, 31];
  const { stdout } = await masks({
    series: [
      ...layers.map((layer) => series(MASK_KIND_HEADS, layer, 32)),
      ...layers.map((layer) => series(MASK_KIND_UNITS, layer, 11_008)),
      series(MASK_KIND_HIDDEN, 0, 4096),
    ],
  });
  for (const line of stdout.split('\n')) expect(stringWidth(line)).toBeLessThanOrEqual(80);
  expect(stdout).toMatch(/^ *31 +0 of 32 +\S{18} +0 of 11008 +0% +\S{18}$/m);
  expect(stdout).toContain('hidden units: 0 of 4096');
  expect(stdout).toContain('18 of 200 recorded states, steps 0 to 17000');
});

test('of a layer it lists which closed and opened when, neighbours together', async () => {
  const changes = [
    { step: 1000n, closed: [3, 4, 5, 9], opened: [] },
    { step: 2000n, closed: [], opened: [4] },
  ];
  const { stdout } = await masks({ series: [series(MASK_KIND_UNITS, 2, 160, { changes })] }, '--layer', '2');
  expect(asked).toMatchObject({ layer: 2, includeChanges: true });
  expect(stdout).toMatch(/^step 1000 +units closed 3-5, 9$/m);
  expect(stdout).toMatch(/^step 2000 +units opened 4$/m);
});

test('of a state and a layer it lists what is closed', async () => {
  const groupOpen = Buffer.from([255, 0, 0, 255]);
  const one = v1.MaskSeries.fromPartial({ kind: MASK_KIND_HEADS, layer: 1, size: 4, open: [2], groups: 4, groupOpen });
  const { stdout } = await masks({ steps: [400n], series: [one] }, '--layer', '1', '--step', '405');
  expect(asked).toMatchObject({ fromStep: 405n, toStep: 405n, maxPoints: 1 });
  expect(stdout).toBe('after 400 steps\nheads: 2 of 4 open; closed: 1-2\n');
  server?.stop();
  expect((await masks({}, '--step', '1', '--points', '3')).exitCode).toBe(2);
});
