#!/usr/bin/env node
// Runs named stages of the test suite, and ends with the line "N passed, N failed". Three lanes run side by side, so that no
// processor idles while the last long test of a stage ends: jest's stages in turn; those of native code in turn; and checks that only read
// sources with one thread, one at a time beside other lanes, or one on each processor.
//   node scripts/run-stages.mjs [--counts FILE] STAGE...
// Before the last line, each failed test is named with its first words, for readers of only the end of a long output. Unsteady tests are
// named, too: they failed among others and passed alone. They count as failed, since a defect of the test or of the product is behind them.
// Stages: native jest long format lint types imports proto house-rules alone cuda sanitizers sanitizers-all. Without a name: native, jest.
// The stage jest leaves the files *.long.test.ts to the stage long.
// With --counts, the totals and these names are also written to a file as JSON.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { runNativeTests } from './native-tests.mjs';
import { isSanitized, NOT_FOR_SANITIZERS, recordSanitized, SANITIZED_BUILD, sanitizedDigest, SANITIZER_OPTIONS } from './sanitizers.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name) => join(root, 'node_modules', '.bin', name);
const BUILD = 'native-engine/build';
const TSC = 'node_modules/typescript-7/bin/tsc';
const SANITIZED = 'native-engine/build-sanitize';
const LONG_TESTS = '\\.long\\.test\\.js$';
/** Files of long tests at once for each processor. They wait for leases, deaths and timers two fifths of their time. */
const LONG_FILES_PER_PROCESSOR = 2.5;
/** A thread that waits leaves its processor to other tests at once. The models of tests are so small that threads mostly wait. */
const WAITS_ASLEEP = { GOMP_SPINCOUNT: '0' };
/** No test knows a server by an authority of the machine. Each process of Node would read its user's own ones, 65 ms long. */
const WITHOUT_AUTHORITIES = { NODE_EXTRA_CA_CERTS: '', GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: '' };
let reports = 0;
const UNSTEADY_FILES = 8; // if more files fail, they are not unsteady, but something is broken
/** The stages that no other stage waits for, with their commands. Each command takes one processor most of its time. */
const readers = {
  format: [[process.execPath, 'scripts/format.mjs']],
  lint: [[bin('oxlint'), 'apps', 'libs', 'native-engine/index.ts', 'native-engine/native.ts']],
  types: [
    [process.execPath, TSC, '-p', 'tsconfig.json'], // it only checks what has changed since `npm test` compiled last
    [process.execPath, TSC, '-p', 'apps/dashboard'],
  ],
  imports: [[bin('depcruise'), '--config', '.dependency-cruiser.cjs', 'apps', 'libs', 'native-engine/index.ts']],
  proto: [
    [bin('buf'), 'lint'],
    [bin('buf'), 'breaking', '--against', 'proto/espalier-v1.binpb'],
  ],
  'house-rules': [[process.execPath, 'scripts/house-rules.mjs']],
};
const jestStages = {
  jest: () => runJest(['--testPathIgnorePatterns', LONG_TESTS]),
  long: () =>
    runJest(['--testPathPatterns', LONG_TESTS, '--maxWorkers', `${Math.ceil(LONG_FILES_PER_PROCESSOR * availableParallelism())}`]),
};
const nativeStages = {
  native: async () => {
    const others = chosen.some((name) => jestStages[name]) ? jestLane : null;
    return added(await runNativeTests(join(root, BUILD), { environment: WAITS_ASLEEP, others }), await runCTest());
  },
  alone: () => runCheck(process.execPath, ['scripts/compile-alone.mjs']),
  cuda: compileCudaKernels,
  sanitizers: () => {
    if (isSanitized()) {
      console.log('With these sources, tests and flags all sanitizer tests have passed, as native-engine/sanitized.txt records.');
      return { passed: 1, failed: 0 };
    }
    console.log('native-engine/sanitized.txt is of other sources, so all sanitizer tests run.');
    return runSanitizers();
  },
  'sanitizers-all': runSanitizers,
};

const args = process.argv.slice(2);
const countsFile = args[0] === '--counts' ? args.splice(0, 2)[1] : null;
const chosen = args.length > 0 ? args : ['native', 'jest'];
const totals = { passed: 0, failed: 0, failures: [], unsteady: [] };
const known = [...Object.keys(jestStages), ...Object.keys(nativeStages), ...Object.keys(readers)];
for (const name of chosen) {
  if (known.includes(name)) continue;
  console.error(`unknown stage ${name}; known: ${known.join(' ')}`);
  process.exit(2);
}
const isReader = (name) => readers[name] !== undefined;
const jestLane = runInTurn(jestStages);
await Promise.all([readThrough(chosen.every(isReader) ? availableParallelism() : 1), jestLane, runInTurn(nativeStages)]);
if (countsFile) writeFileSync(countsFile, JSON.stringify(totals));
for (const test of totals.unsteady) console.log(`\nunsteady in ${test}`);
for (const failure of totals.failures) console.log(`\nfailed in ${failure}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 ? 0 : 1);

async function readThrough(atOnce) {
  const waiting = chosen.filter(isReader);
  const readOn = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const started = Date.now();
      const { output, ...counts } = await runReaders(readers[name]);
      console.log(`\n=== ${name}\n${output.trimEnd()}`);
      count(name, counts, started);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, readOn));
}

async function runInTurn(stages) {
  for (const name of chosen.filter((one) => stages[one])) {
    const started = Date.now();
    console.log(`\n=== ${name}`);
    count(name, await stages[name](), started);
  }
}

function count(name, { passed, failed, failures = [], unsteady = [] }, started) {
  totals.passed += passed;
  totals.failed += failed;
  // A stage that fails without naming a test is named itself.
  totals.failures.push(...(failed > 0 && failures.length === 0 ? ['see its output above'] : failures).map((text) => `${name}: ${text}`));
  totals.unsteady.push(...unsteady.map((text) => `${name}: ${text}`));
  console.log(`=== ${name}: ${passed} passed, ${failed} failed (${((Date.now() - started) / 1000).toFixed(1)} s)`);
}

function added(one, other) {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    failures: [...(one.failures ?? []), ...(other.failures ?? [])],
    unsteady: [...(one.unsteady ?? []), ...(other.unsteady ?? [])],
  };
}

/** Runs commands whose output is shown when the last one has ended, because other stages print meanwhile. */
async function runReaders(commands) {
  const result = { passed: 0, failed: 0, output: '' };
  for (const [command, ...commandArgs] of commands) {
    const status = await run(command, commandArgs, {}, (text) => (result.output += text));
    result[status === 0 ? 'passed' : 'failed'] += 1;
  }
  return result;
}

async function runCheck(command, commandArgs) {
  const status = await run(command, commandArgs);
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Runs the tests that need an environment of their own. */
async function runCTest() {
  const report = join(root, BUILD, 'ctest.xml');
  rmSync(report, { force: true });
  const atOnce = String(availableParallelism());
  const status = await run(
    'ctest',
    [
      ...['--test-dir', BUILD, '--parallel', atOnce, '--output-on-failure', '--output-junit', report],
      ...['--label-exclude', 'in-any-environment'],
    ],
    WAITS_ASLEEP,
  );
  if (!existsSync(report)) return { passed: 0, failed: 1 };
  const xml = readFileSync(report, 'utf8');
  const count = (name) => Number(new RegExp(`<testsuite[^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const failed = count('failures');
  const passed = count('tests') - failed - count('skipped') - count('disabled');
  const failures = [...xml.matchAll(/<testcase name="([^"]*)"[^>]*status="fail">/g)].map((test) => test[1]);
  return { passed, failed: failed + (passed === 0 || (status !== 0 && failed === 0) ? 1 : 0), failures };
}

/**
 * Runs Jest, and then each file with a failed test once more, alone. A test that passes then is named as unsteady, so that a reader knows
 * which kind of defect to look for. It counts as failed all the same.
 */
async function runJest(jestArgs, environment = {}) {
  const first = await jestOnce(jestArgs, environment);
  if (first.failed === 0 || first.failedFiles.length === 0 || first.failedFiles.length > UNSTEADY_FILES) return first;
  console.log(`\n=== jest, once more: ${first.failedFiles.map((file) => relative(root, file)).join(' ')}`);
  const second = await jestOnce(['--runInBand', '--runTestsByPath', ...first.failedFiles], environment);
  const nameOf = (failure) => failure.split('\n')[0];
  const again = new Set(second.failures.map(nameOf));
  return {
    passed: first.passed,
    failed: first.failed,
    failures: second.failures,
    unsteady: first.failures.filter((failure) => !again.has(nameOf(failure))),
  };
}

async function jestOnce(jestArgs, environment) {
  const report = join(root, 'dist', `jest-report-${(reports += 1)}.json`); // the sanitizers' own run of jest may be beside another
  rmSync(report, { force: true });
  const status = await run(
    process.execPath,
    [
      'node_modules/jest/bin/jest.js',
      '--forceExit', // else resources that a failed test left open would keep the process, and the whole check, running for ever
      '--json',
      '--outputFile',
      report,
      ...(process.env.CI ? ['--ci'] : []),
      ...jestArgs,
    ],
    { ...WAITS_ASLEEP, ...WITHOUT_AUTHORITIES, ...environment },
  );
  if (!existsSync(report)) return { passed: 0, failed: 1, failures: [], failedFiles: [] };
  const result = JSON.parse(readFileSync(report, 'utf8'));
  const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
  const failures = result.testResults.flatMap((file) => [
    ...(file.assertionResults.length === 0 && file.status === 'failed'
      ? [`${relative(root, file.name)}\n${firstLines(file.message)}`]
      : []),
    ...file.assertionResults
      .filter((test) => test.status === 'failed')
      .map((test) => `${relative(root, file.name)}: ${test.fullName}\n${firstLines(test.failureMessages.join('\n'))}`),
  ]);
  return {
    passed: result.numPassedTests,
    failed: failed + ((status !== 0 && failed === 0) || result.numPassedTests === 0 ? 1 : 0),
    failures,
    failedFiles: result.testResults.filter((file) => file.status === 'failed').map((file) => file.name),
  };
}

/** Returns the beginning of a failure's message, without colours and without the test runner's own stack. */
function firstLines(message) {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .filter((line) => !/^\s+at .*(node_modules|node:internal)/.test(line));
  return lines.slice(0, 25).join('\n').slice(0, 2500);
}

// Kernels for cards must compile without a warning, and spill no more registers than backends/cuda/spills.txt allows.
async function compileCudaKernels() {
  const nvcc = ['nvcc', '/usr/local/cuda/bin/nvcc', '/opt/cuda/bin/nvcc'].find(
    (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0,
  );
  if (!nvcc) {
    console.log('nvcc is not here: the CUDA kernels were not compiled for cards.');
    return { passed: 0, failed: 0 };
  }
  // If the engine was built with the kernels, the ones that are up to date there have passed.
  const built = 'native-engine/build';
  const cache = join(root, built, 'CMakeCache.txt');
  const isBuilt = existsSync(cache) && /^ESPALIER_CUDA:[A-Z]+=ON$/m.test(readFileSync(cache, 'utf8'));
  const build = isBuilt ? built : 'native-engine/build-cuda';
  const settings = isBuilt ? [] : ['-DESPALIER_CUDA=ON', '-DESPALIER_TESTS=OFF'];
  const configured = await run('cmake', ['-S', 'native-engine', '-B', build, ...settings]);
  return configured === 0
    ? runCheck('cmake', ['--build', build, '--parallel', '2', '--target', 'espalier_cuda_spills'])
    : { passed: 0, failed: 1 };
}

/** Builds the engine with sanitizers, linked with the tests that the build without sanitizers has compiled. */
async function buildSanitized() {
  const compiled = `-DESPALIER_TESTS_COMPILED_IN=${join(root, BUILD)}`;
  const configured = await run('cmake', ['-S', 'native-engine', '-B', SANITIZED, ...SANITIZED_BUILD, compiled]);
  return configured === 0
    ? runCheck('cmake', ['--build', SANITIZED, '--parallel', '2', '--target', 'espalier_tests', 'espalier_native'])
    : { passed: 0, failed: 1 };
}

/**
 * Runs the native tests that have a use under AddressSanitizer and UndefinedBehaviorSanitizer, and the addon's tests, and records their
 * pass.
 */
async function runSanitizers() {
  const digest = sanitizedDigest();
  const built = await buildSanitized();
  if (built.failed > 0) return built;
  const environment = { ...WAITS_ASLEEP, ...SANITIZER_OPTIONS };
  // Node itself is not built with the sanitizers, so their libraries must be loaded before it starts.
  const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
    spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim(),
  );
  const [native, addon] = await Promise.all([
    runNativeTests(join(root, SANITIZED), { environment, passOver: NOT_FOR_SANITIZERS }),
    runJest(['--runInBand', 'native-engine/index'], {
      ...environment,
      LD_PRELOAD: libraries.join(' '),
      ESPALIER_NATIVE_ADDON: join(root, SANITIZED, 'espalier_native.node'),
    }),
  ]);
  const counts = added(native, addon);
  console.log(recordSanitized(digest, counts) ? 'native-engine/sanitized.txt records this pass.' : 'This run is not recorded.');
  return counts;
}

/** @param print called with the command's output; undefined: the command prints for itself */
function run(command, commandArgs, environment = {}, print) {
  const out = print ? 'pipe' : 'inherit';
  return new Promise((resolve) => {
    const child = spawn(command, commandArgs, { cwd: root, stdio: ['ignore', out, out], env: { ...process.env, ...environment } });
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', print);
    child.on('error', (error) => {
      console.error(error.message);
      resolve(1);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}
