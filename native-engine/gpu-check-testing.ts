// Stand-ins for the programs of the check of a card (tools/gpu_check.sh), and a call of the check with them. For tests.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ENGINE = fileURLToPath(new URL('../../native-engine', import.meta.url));
export const CHECK = join(ENGINE, 'tools/gpu_check.sh');

/** The tests that gpu_check_tests contains, on an H100 and on the emulated card. */
export const TESTS = [
  ...readdirSync(join(ENGINE, 'tests/backend_ops'))
    .filter((file) => file.endsWith('.cpp'))
    .flatMap((file) => namesIn(`tests/backend_ops/${file}`))
    .flatMap((name) => ['cuda0_sm_90_f32', 'cuda0_sm_90_bf16', 'emulated0_early_f32'].map((device) => `All/${name}/${device}`)),
  ...namesIn('tests/cuda/probes_test.cpp').flatMap((name) => [`All/${name}/gpu`, `All/${name}/emulated`]),
  ...namesIn('tests/cuda/step_test.cpp'),
  ...namesIn('tests/cuda/several_cards_test.cpp'),
  ...namesIn('tests/step/determinism_test.cpp'),
];

function namesIn(file: string): string[] {
  const text = readFileSync(join(ENGINE, file), 'utf8');
  return [...text.matchAll(/^TEST(?:_P|_F)?\((\w+), (\w+)\)/gm)].map(([, suite, name]) => `${suite}.${name}`);
}

/**
 * Stands in for gpu_check_tests: it notes the names of the tests that it would run. Patterns of the shell match the same names as patterns
 * of GoogleTest.
 */
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
export const card = (number: number, problem = '') =>
  `echo '{"name":"cuda:${number}","model":"H100","kernels":"sm_90","memory_bytes":80000000000,"problem":"${problem}"}'`;

/** Writes stand-ins for all programs into a new folder `build`, each a script of bash. */
export function writeStandIns(build: string, changed: Record<string, string> = {}): void {
  const programs: Record<string, string> = {
    gpu_check_tests: TEST_PROGRAM,
    list_devices: `${card(0)}; ${card(1)}`,
    product_bench: 'echo "{\\"rows\\":16}"',
    step_bench: `echo '${STEP_LINE}'; echo '${OP_LINE}'`,
    step_dump: 'while [ "$1" != --out ]; do shift; done; echo bits > "$2"',
    ...changed,
  };
  mkdirSync(build);
  for (const [program, script] of Object.entries(programs))
    writeFileSync(join(build, program), `#!/usr/bin/env bash\nhere=$(dirname "$0")\n${script}\n`, { mode: 0o755 });
  writeFileSync(join(build, 'tests.txt'), TESTS.map((test) => `${test}\n`).join(''));
  writeFileSync(join(build, 'failing.txt'), '');
  writeFileSync(join(build, 'prebuilt.txt'), 'commit 0123abc, built with nvcc 13.0\nThe machine needs a card.\n');
}

/** Writes a CUDA toolkit whose nvcc only tells its version, and returns its folder. */
export function writeToolkit(folder: string, version: string): string {
  mkdirSync(join(folder, 'bin'), { recursive: true });
  const script = `#!/bin/sh\necho "Cuda compilation tools, release ${version}, V${version}.131"\n`;
  writeFileSync(join(folder, 'bin/nvcc'), script, { mode: 0o755 });
  return folder;
}

/** An environment in which the check finds neither a Python with torch nor cuBLASLt, which only some machines have. */
export const WITHOUT_OTHER_TOOLS = { ...process.env, GPU_CHECK_PYTHON: '/bin/false', ESPALIER_CUBLASLT: 'off' };

/** Joins the lines of each sentence that the check wrapped. */
export const unwrapped = (text: string): string => text.replaceAll(/\n {2}(?! )/g, ' ');

interface Called {
  status: number;
  said: string;
}
interface Checked extends Called {
  report: string;
  parts: { part: string; status: string; why: string }[];
  commit: string;
}

/** Calls the check, whose reports go to a folder beside that of the programs. */
export function call(build: string, args: string[], environment: Record<string, string> = {}): Called {
  const env = { ...WITHOUT_OTHER_TOOLS, ...environment };
  const ran = spawnSync('bash', [CHECK, '--build', build, '--out', `${build}-out`, ...args], { encoding: 'utf8', env });
  return { status: ran.status ?? -1, said: unwrapped(ran.stdout + ran.stderr) };
}

/** Calls the check, and reads its report. */
export function check(build: string, args: string[], environment: Record<string, string> = {}): Checked {
  const called = call(build, args, environment);
  const out = `${build}-out`;
  const { parts, commit } = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Pick<Checked, 'parts' | 'commit'>;
  return { ...called, report: unwrapped(readFileSync(join(out, 'report.txt'), 'utf8')), parts, commit };
}
