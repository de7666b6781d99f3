// The check of a card (tools/gpu_check.sh) with stand-ins for its programs: the tests that it runs, its verdict, the end of its time.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECK, check, WITHOUT_OTHER_TOOLS, TESTS, unwrapped, writeStandIns, writeToolkit } from './gpu-check-testing.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-gpu-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function standIns(name: string, changed: Record<string, string> = {}): string {
  writeStandIns(join(folder, name), changed);
  return join(folder, name);
}

const LIST = execFileSync('bash', [CHECK, 'list'], { encoding: 'utf8' }).trim().split('\n');
const PARTS = LIST.map((line) => line.split(' ')[0]!);
const CHECKS = PARTS.filter((part) => !/^torch-|^(mem|race|init|sync)check$/.test(part));
const PROOF = ['instructions', 'ops-elementwise', 'ops-matrix', 'ops-attention', 'ops-movement', 'products', 'step', 'dump', 'resume'];

test('every test of a card is run by a part, and none of the emulated card beside it', () => {
  const build = standIns('whole');
  const { said, status, parts, report } = check(build, CHECKS);
  expect(said).toContain('The card computes right: all checks of instructions, ops, products and steps passed.');
  expect(status).toBe(0);
  expect(parts.map(({ part, status: ended }) => `${part} ${ended}`)).toEqual(CHECKS.map((part) => `${part} passed`));
  const ran = new Set(readFileSync(join(build, 'ran.txt'), 'utf8').trim().split('\n'));
  expect(TESTS.filter((name) => !ran.has(name) && !name.includes('/emulated0_'))).toEqual([]);
  expect([...ran].filter((name) => name.includes('/emulated0_'))).toEqual([]);
  expect(report).toContain('bench-7b-real: 7b, 16 sequences of 512, rank 8, 50% closed: 500.0 ms a step');
  expect(report).toMatch(/Product +300 +250\.000 +50\.0% +150\.000 +76\.0% +200\.000 +27\.0%/);
  expect(report).toContain("the card's best: products 790.0 TFLOP/s, copies 3.00 TB/s; memory taken 41.00 GB, planned 40.00 GB");
  const packed = execFileSync('tar', ['-tzf', `${build}-out.tar.gz`], { encoding: 'utf8' });
  expect(packed).toContain('whole-out/report.txt');
  expect(packed).toContain('whole-out/parts/step.log');
});

/** A program that goes on until a file tells it to end, and fails where none does. */
const LONG = 'echo "rows 16"; for _ in {1..900}; do [ ! -e "$here/end" ] || exit 0; sleep 0.05; done; exit 1';
test('each part says when it begins, and a long one that it goes on', async () => {
  const build = standIns('long', { product_bench: LONG });
  const env = { ...WITHOUT_OTHER_TOOLS, GPU_CHECK_LIFE_SECONDS: '0.05' };
  const args = ['--build', build, '--out', `${build}-out`, '--minutes', '30', 'dump', 'products', 'step'];
  const calling = spawn('bash', [CHECK, ...args], { env });
  const ended = once(calling, 'close');
  let said = '';
  calling.stdout.on('data', (text: Buffer) => {
    said += text.toString();
    if (/^products +runs +\d+ s {2}rows 16\n/m.test(said)) writeFileSync(join(build, 'end'), '');
  });
  expect(await ended).toEqual([0, null]);
  expect(said).toMatch(/^part 1 of 3: dump \(29 min left\)\n(dump +runs .*\n)*dump +passed/);
  expect(said).toMatch(/^part 2 of 3: products \(29 min left\)\n(products +runs .*\n)+products +passed/m);
  expect(said).toMatch(/^part 3 of 3: step \(29 min left\)$/m);
  const withoutEnd = check(standIns('short'), ['dump']).said;
  expect(withoutEnd).toMatch(/^part 1 of 1: dump \(\d+ s so far\)\ndump +passed/);
});

test('a suite that no part runs fails the build', () => {
  const build = standIns('unused');
  writeFileSync(join(build, 'tests.txt'), 'All/NewOps.Add/cuda0_sm_90_f32\nAll/NewOps.Add/emulated0_early_f32\n');
  const { said, status } = check(build, ['build']);
  expect(said).toContain('no part runs All/NewOps.Add/cuda0_sm_90_f32');
  expect(said).toContain('Nothing was checked: no part runs');
  expect(status).toBe(1);
});

describe('an error of the card', () => {
  test('in any test makes the verdict that it computes wrong results', () => {
    const build = standIns('suites');
    // One test of each suite fails: the last one that is named.
    const lastOf = new Map(TESTS.filter((name) => !name.includes('/emulated')).map((name) => [name.split('.')[0], name]));
    writeFileSync(join(build, 'failing.txt'), [...lastOf.values()].map((name) => `${name}\n`).join(''));
    const { said, status } = check(build, [...PROOF, 'several-cards']);
    expect(said).toContain(
      'The card computes wrong results: instructions ops-elementwise ops-matrix ops-attention ops-movement step resume\n' +
        'Several cards do not compute as one does: several-cards\n',
    );
    const logs = [...PROOF, 'several-cards'].map((part) => readFileSync(join(`${build}-out/parts`, `${part}.log`), 'utf8')).join('');
    for (const name of lastOf.values()) expect(logs).toContain(`[  FAILED  ] ${name} (`);
    expect(status).toBe(1);
  });

  test.each([
    ['products', 'product_bench', 'echo differs; exit 1'],
    ['dump', 'step_dump', 'while [ "$1" != --out ]; do shift; done; date +%N > "$2"'],
  ])('in the part %s does so, too', (part, program, script) => {
    const { said, status } = check(standIns(`broken-${part}`, { [program]: script }), PROOF);
    expect(said).toMatch(new RegExp(`^The card computes wrong results: ${part}$`, 'm'));
    expect(status).toBe(1);
  });

  test('in a benchmark is told beside the verdict', () => {
    const { said, status } = check(standIns('broken-bench', { step_bench: 'exit 1' }), [...PROOF, 'bench-1b']);
    expect(said).toContain('The card computes right');
    expect(said).toContain('These failed, too: bench-1b');
    expect(status).toBe(1);
  });

  test('in no part that ran leaves the verdict open while a part was not run', () => {
    const without = PROOF.filter((part) => part !== 'products');
    expect(check(standIns('open'), without).said).toContain('The card may compute right: these were not run to their end: products');
  });
});

test('the minutes of a call end a part, which a later call begins anew', () => {
  const build = standIns('minutes', { product_bench: '[ -f "$here/quick" ] || sleep 90' });
  // The last 15 seconds of a call are left for its reports.
  const first = check(build, ['--minutes', '0.5', 'step', 'products', 'dump']);
  expect(first.said).toMatch(/^products +cut .* the minutes of the call ended$/m);
  expect(first.said).toContain('left for another call: products dump');
  expect(first.said).toContain('The card may compute right');
  expect(first.status).toBe(4);
  writeFileSync(join(build, 'quick'), '');
  rmSync(join(build, 'ran.txt'));
  const second = check(build, ['--minutes', '9', 'step', 'products', 'dump']);
  expect(second.said).not.toContain('left for another call');
  expect(second.parts.map(({ status }) => status)).toEqual(['passed', 'passed', 'passed']);
  expect(existsSync(join(build, 'ran.txt'))).toBe(false); // the part that passed was not run again
});

test('a pack says which C library and driver it needs, and its report of which commit it is', () => {
  const build = standIns('packed');
  for (const program of ['gpu_check_tests', 'list_devices', 'step_dump', 'step_bench', 'product_bench'])
    copyFileSync(execFileSync('which', ['true'], { encoding: 'utf8' }).trim(), join(build, program));
  const archive = join(folder, 'packed.tar.gz');
  const env = { ...process.env, CUDA_HOME: writeToolkit(join(folder, 'toolkit'), '12.4') };
  const said = execFileSync('bash', [CHECK, '--build', build, 'pack', archive], { encoding: 'utf8', env });
  const needs = /The machine needs x86-64 Linux with glibc 2\.\d+ or newer .* and an NVIDIA driver for CUDA 12\.4 or newer/;
  expect(unwrapped(said)).toMatch(needs);
  const there = join(folder, 'there');
  mkdirSync(there);
  execFileSync('tar', ['-xzf', archive, '-C', there]);
  execFileSync('bash', [join(there, 'espalier/native-engine/tools/gpu_check.sh'), '--out', join(there, 'out'), 'build'], { env });
  expect(readFileSync(join(there, 'out/report.json'), 'utf8')).toContain('"commit":"0123abc"');
  expect(readFileSync(join(there, 'out/parts/build.log'), 'utf8')).toMatch(needs);
});

test('the help and the list fit a terminal of 80 columns, and tell each part', () => {
  for (const asked of ['--help', 'list']) {
    const lines = execFileSync('bash', [CHECK, asked], { encoding: 'utf8' }).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  }
  for (const line of LIST) expect(line).toMatch(/^[\w-]+ +[A-Za-z].{15,}$/);
});

test('a build that CMake refuses is not said to be half done', () => {
  const bin = join(folder, 'refusing');
  mkdirSync(bin);
  writeFileSync(join(bin, 'cmake'), '#!/bin/sh\necho "CMake Error: too old" >&2\nexit 1\n', { mode: 0o755 });
  const build = join(folder, 'refused');
  mkdirSync(build);
  const { said } = check(build, ['--rehearse', 'build'], { PATH: `${bin}:${process.env.PATH}` });
  expect(said).toMatch(/build +failed .*\n +CMake can't prepare the build/);
  expect(said).toContain('CMake Error: too old');
});
