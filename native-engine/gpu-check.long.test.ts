// The whole check of a card (tools/gpu_check.sh), rehearsed on the emulated card with the programs that the native build made for it
// (tests/cuda/rehearsal.cmake). Each part runs at its smallest.
import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ENGINE = fileURLToPath(new URL('../../native-engine', import.meta.url));
const CHECK = join(ENGINE, 'tools/gpu_check.sh');
const BUILD = join(ENGINE, 'build/rehearsal');
const out = mkdtempSync(join(tmpdir(), 'espalier-rehearsal-'));
afterAll(() => {
  rmSync(out, { recursive: true, force: true });
  rmSync(`${out}.tar.gz`, { force: true });
});

// Without the native tests there are no such programs.
const testWithPrograms = existsSync(join(BUILD, 'step_bench')) ? test : test.skip;

const rehearse = (parts: string[], library: string, folder: string): SpawnSyncReturns<string> =>
  spawnSync('bash', [CHECK, '--rehearse', '--build', BUILD, '--out', folder, ...parts], {
    encoding: 'utf8',
    env: { ...process.env, ESPALIER_CUBLASLT: library, OMP_NUM_THREADS: '1' },
  });
const endsOf = (folder: string): string[] =>
  (JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as { parts: { part: string; status: string }[] }).parts.map(
    ({ part, status }) => `${part} ${status}`,
  );

testWithPrograms('the emulated card passes every part of the check', () => {
  // PyTorch would measure only itself, compute-sanitizer needs a card, and products are compared with the library's below.
  const parts = execFileSync('bash', [CHECK, 'list'], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0]!)
    .filter((part) => !/^torch-|^(mem|race|init|sync)check$|^products$/.test(part));
  const ran = rehearse(parts, 'off', out);
  expect(endsOf(out)).toEqual(parts.map((part) => `${part} passed`));
  const said = ran.stdout.replaceAll(/\s+/g, ' '); // its lines are wrapped
  expect(said).toContain('The emulated card may compute right: these were not run to their end: products');
  expect(ran.status).toBe(0);
  const logOf = (part: string) => readFileSync(join(out, 'parts', `${part}.log`), 'utf8');
  const suites = ['elementwise', 'matrix', 'attention', 'movement'].flatMap((ops) =>
    [...logOf(`ops-${ops}`).matchAll(/OK \] All\/(\w+)\..*\/cuda0_/g)].map(([, suite]) => suite),
  );
  expect(suites.sort()).toEqual([
    'AttentionOps',
    'CachedAttentionOps',
    'DropoutOps',
    'ElementwiseOps',
    'HeadNorm',
    'MatrixOps',
    'MovementOps',
    'PathAttentionOps',
    'WeightGradientOps',
  ]);
  const text = readFileSync(join(out, 'report.txt'), 'utf8');
  const onCards = text.match(/^several-cards-1b: tiny, .*$/gm)?.map((line) => / (\d) cards, [\d.]+ times as quick/.exec(line)?.[1] ?? '1');
  expect(onCards).toEqual(['1', '2', '4']);
  expect(text).toMatch(/bench-7b-real: tiny.*\n.*\n {2}slowest ops(.*\n){10}/);
});

testWithPrograms('it passes the parts with products by the library, too', () => {
  const folder = join(out, 'library');
  const parts = ['build', 'ops-matrix', 'products', 'step', 'dump'];
  rehearse(parts, join(ENGINE, 'build/stand_in_cublaslt/libcublasLt.so.1'), folder);
  expect(endsOf(folder)).toEqual(parts.map((part) => `${part} passed`));
  expect(readFileSync(join(folder, 'parts/products.log'), 'utf8')).toContain('"library_difference"');
});
