// The check of a card (tools/gpu_check.sh) with stand-ins for its programs: the tests that it runs, its verdict, the end of its time.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ENGINE = fileURLToPath(new URL('../../native-engine', import.meta.url));
const CHECK = join(ENGINE, 'tools/gpu_check.sh');
const folder = mkdtempSync(join(tmpdir(), 'espalier-gpu-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The tests that gpu_check_tests is compiled of, on an H100 and on the emulated card. */
const TESTS = [
  ...readdirSync(join(ENGINE, 'tests/backend_ops'))
    .filter((file) => file.endsWith('.cpp'))
    .flatMap((file) => namesIn(`tests/backend_ops/${file}`))
    .flatMap((name) => ['cuda0_sm_90a_f32', 'cuda0_sm_90a_bf16', 'emulated0_early_f32'].map((device) => `All/${name}/${device}`)),
  ...namesIn('tests/cuda/probes_test.cpp').flatMap((name) => [`All/${name}/gpu`, `All/${name}/emulated`]),
  ...namesIn('tests/cuda/step_test.cpp'),
  ...namesIn('tests/step/determinism_test.cpp'),
];

function namesIn(file: string): string[] {
  const text = readFileSync(join(ENGINE, file), 'utf8');
  return [...text.matchAll(/^TEST(?:_P|_F)?\((\w+), (\w+)\)/gm)].map(([, suite, name]) => `${suite}.${name}`);
}

/** Stands in for gpu_check_tests: it notes the names of the tests that it would run. Patterns of the shell match as its own. */
const TEST_PROGRAM = `
filter=* list=0
for argument; do
  case $argument in --gtest_filter=*) filter=\${argument#*=} ;; --gtest_list_tests) list=1 ;; esac
done
wanted=\${filter%%-*} unwanted=
case $filter in *-*) unwanted=\${filter#*-} ;; esac
matches() { local IFS=: one; set -f; for one in $1; do [[ $2 == $one ]] && return 0; done; return 1; }
failed=0 failing=" $(tr '\\n' ' ' < "$here/failing.txt")"
while read -r name; do
  matches "\${wanted:-*}" "$name" || continue
  matches "$unwanted" "$name" && continue
  if [ $list = 1 ]; then echo "$name"; continue; fi
  echo "$name" >> "$here/ran.txt"
  if [[ $failing == *" $name "* ]]; then echo "[  FAILED  ] $name (1 ms)"; failed=1; else echo "[       OK ] $name (1 ms)"; fi
done < "$here/tests.txt"
exit $failed`;
const STEP_LINE =
  '{"model":"7b","batch":16,"seq":512,"mask_sparsity":0.5,"lora_rank":8,"s_per_step":0.5,"tokens_per_s":16384,"peak_share":0.62,' +
  '"matmul_peak_flops_per_s":7.9e14,"copy_bytes_per_s":3e12,"device_bytes":41000000000,"planned_bytes":40000000000}';
const OP_LINE = '{"op":"Product","count":300,"s":0.25,"flops":1.5e14,"bytes":2e11,"matmul_peak_share":0.76,"copy_share":0.27}';
const CARD = `echo '{"name":"cuda:0","model":"H100","kernels":"sm_90a","problem":""}'`;

/** Writes stand-ins for all programs into a folder, each a script of bash, and returns the folder. */
function standIns(name: string, changed: Record<string, string> = {}): string {
  const programs: Record<string, string> = {
    gpu_check_tests: TEST_PROGRAM,
    list_devices: CARD,
    product_bench: 'echo "{\\"rows\\":16}"',
    step_bench: `echo '${STEP_LINE}'; echo '${OP_LINE}'`,
    step_dump: 'while [ "$1" != --out ]; do shift; done; echo bits > "$2"',
    ...changed,
  };
  const build = join(folder, name);
  mkdirSync(build);
  for (const [program, script] of Object.entries(programs))
    writeFileSync(join(build, program), `#!/usr/bin/env bash\nhere=$(dirname "$0")\n${script}\n`, { mode: 0o755 });
  writeFileSync(join(build, 'tests.txt'), TESTS.map((test) => `${test}\n`).join(''));
  writeFileSync(join(build, 'failing.txt'), '');
  writeFileSync(join(build, 'prebuilt.txt'), 'commit 0123abc, built with nvcc 13.0\nThe machine needs a card.\n');
  return build;
}

interface Checked {
  status: number;
  said: string;
  report: string;
  parts: { part: string; status: string; why: string }[];
  commit: string;
}

function check(build: string, args: string[], environment: Record<string, string> = {}): Checked {
  const out = `${build}-out`;
  // A Python with torch, and cuBLASLt, would make these tests depend on the machine.
  const env = { ...process.env, GPU_CHECK_PYTHON: '/bin/false', ESPALIER_CUBLASLT: 'off', ...environment };
  const ran = spawnSync('bash', [CHECK, '--build', build, '--out', out, ...args], { encoding: 'utf8', env });
  const { parts, commit } = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Pick<Checked, 'parts' | 'commit'>;
  return { status: ran.status ?? -1, said: ran.stdout + ran.stderr, report: readFileSync(join(out, 'report.txt'), 'utf8'), parts, commit };
}

const PARTS = execFileSync('bash', [CHECK, 'list'], { encoding: 'utf8' }).trim().split('\n');
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

test('a suite that no part runs fails the build', () => {
  const build = standIns('unused');
  writeFileSync(join(build, 'tests.txt'), 'All/NewOps.Add/cuda0_sm_90a_f32\nAll/NewOps.Add/emulated0_early_f32\n');
  const { said, status } = check(build, ['build']);
  expect(said).toContain('no part runs All/NewOps.Add/cuda0_sm_90a_f32');
  expect(said).toContain('Nothing was checked: no part runs');
  expect(status).toBe(1);
});

describe('an error of the card', () => {
  test('in any test makes the verdict that it computes wrong results', () => {
    const build = standIns('suites');
    // One test of each suite fails: the last one that is named.
    const lastOf = new Map(TESTS.filter((name) => !name.includes('/emulated')).map((name) => [name.split('.')[0], name]));
    writeFileSync(join(build, 'failing.txt'), [...lastOf.values()].map((name) => `${name}\n`).join(''));
    const { said, status } = check(build, PROOF);
    expect(said).toContain(
      'The card computes wrong results: instructions ops-elementwise ops-matrix ops-attention ops-movement step resume\n',
    );
    const logs = PROOF.map((part) => readFileSync(join(`${build}-out/parts`, `${part}.log`), 'utf8')).join('');
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
  expect(first.status).toBe(0);
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
  const bin = join(folder, 'toolkit');
  mkdirSync(bin);
  writeFileSync(join(bin, 'nvcc'), '#!/bin/sh\necho "Cuda compilation tools, release 12.4, V12.4.131"\n', { mode: 0o755 });
  const archive = join(folder, 'packed.tar.gz');
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  const said = execFileSync('bash', [CHECK, '--build', build, 'pack', archive], { encoding: 'utf8', env });
  const needs = /The machine needs x86-64 Linux with glibc 2\.\d+ or newer .* and an NVIDIA driver for CUDA 12\.4 or newer/;
  expect(said).toMatch(needs);
  const there = join(folder, 'there');
  mkdirSync(there);
  execFileSync('tar', ['-xzf', archive, '-C', there]);
  execFileSync('bash', [join(there, 'espalier/native-engine/tools/gpu_check.sh'), '--out', join(there, 'out'), 'build'], { env });
  expect(readFileSync(join(there, 'out/report.json'), 'utf8')).toContain('"commit":"0123abc"');
  expect(readFileSync(join(there, 'out/parts/build.log'), 'utf8')).toMatch(needs);
});

test('where no card can be used, the verdict says that nothing was checked, and why', () => {
  const build = standIns('no-card', { list_devices: `echo '{"name":"cuda","problem":"no NVIDIA driver is loaded"}'` });
  const { said, report } = check(build, ['build', 'device', 'step']);
  expect(said).toMatch(/build +passed/);
  expect(said).toMatch(/step +skipped .*no card can be used: no NVIDIA driver is loaded/);
  const verdict = 'Nothing was checked: no card can be used: no NVIDIA driver is loaded.';
  expect(said.split('\n')).toContain(verdict);
  expect(report.split('\n')[0]).toBe(verdict);
});

test('where nothing can be built, the check names the pack', () => {
  const build = join(folder, 'empty');
  mkdirSync(build);
  mkdirSync(join(folder, 'bin'));
  // A machine with the programs of every Linux, and no compiler.
  for (const tool of 'bash cat date dirname basename grep head mkdir paste sed tail tar tee gzip tr'.split(' '))
    execFileSync('ln', ['-s', execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(folder, 'bin', tool)]);
  const { said } = check(build, ['build', 'device'], { PATH: join(folder, 'bin') });
  expect(said).toMatch(/build +failed .*missing: cmake c\+\+ make or ninja.*gpu_check\.sh pack/);
  expect(said).toMatch(/^Nothing was checked: missing: .*gpu_check\.sh pack\.$/m);
});

test('a build that CMake refuses is not said to be half done', () => {
  const bin = join(folder, 'refusing');
  mkdirSync(bin);
  writeFileSync(join(bin, 'cmake'), '#!/bin/sh\necho "CMake Error: too old" >&2\nexit 1\n', { mode: 0o755 });
  const build = join(folder, 'refused');
  mkdirSync(build);
  const { said } = check(build, ['--rehearse', 'build'], { PATH: `${bin}:${process.env.PATH}` });
  expect(said).toMatch(/build +failed .*CMake can't prepare the build/);
  expect(said).toContain('CMake Error: too old');
});
