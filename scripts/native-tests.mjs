// Runs the native tests of a build. The tests of one suite run in one process, because a process takes longer to start than most tests
// take. `ctest` starts a process for each test, and only runs the tests that need an environment of their own.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

const MOST_OF_A_PROCESS = 24; // tests, so that both processors end at about the same time
const LONG_SUITES = /^(Cuda|SeveralDevices|Cublaslt)/; // these suites start first, for the same reason

/**
 * Runs the tests of a build.
 * @param build the folder of a build that has the program espalier_tests
 * @param passOver regular expressions; tests whose names match one are left out
 * @param others settles when other work on the processors ends; until then, or until no test waits, one processor is left to that work
 * @returns {Promise<{ passed: number, failed: number, failures: string[] }>}
 */
export async function runNativeTests(build, { environment = {}, passOver = [], others = null } = {}) {
  const program = join(build, 'espalier_tests');
  const reports = mkdtempSync(join(tmpdir(), 'espalier-native-tests-'));
  const total = { passed: 0, failed: 0, failures: [] };
  try {
    const env = { ...process.env, ...environment };
    const waiting = batchesOf(suitesOf(program, env), passOver);
    if (waiting.length === 0) return { ...total, failed: 1, failures: [`${program} names no test`] };
    const runOn = async () => {
      for (let tests = waiting.shift(); tests !== undefined; tests = waiting.shift()) {
        const counts = await runBatch(program, tests, env, join(reports, `${waiting.length}.json`));
        total.passed += counts.passed;
        total.failed += counts.failures.length;
        total.failures.push(...counts.failures);
      }
    };
    const early = Array.from({ length: Math.max(1, availableParallelism() - 1) }, runOn);
    const last = availableParallelism() > 1 ? Promise.race([others, Promise.all(early)]).then(runOn) : null;
    await Promise.all([...early, last]);
    return total;
  } finally {
    rmSync(reports, { recursive: true, force: true });
  }
}

/** Returns the suites with their tests. The program lists a suite's name with a dot at its end, and the names of its tests indented. */
function suitesOf(program, env) {
  const listed = spawnSync(program, ['--gtest_list_tests'], { env, encoding: 'utf8' }).stdout ?? '';
  const suites = [];
  for (const line of listed.split('\n')) {
    const [name] = line.trim().split(/\s/);
    if (line.startsWith('  ')) suites.at(-1).tests.push(`${suites.at(-1).name}.${name}`);
    else if (/^\S+\.(\s|$)/.test(line)) suites.push({ name: name.slice(0, -1), tests: [] });
  }
  return suites;
}

function batchesOf(suites, passOver) {
  const isChosen = (test) => !passOver.some((expression) => new RegExp(expression).test(test));
  const inOrder = [...suites.filter((suite) => LONG_SUITES.test(suite.name)), ...suites.filter((suite) => !LONG_SUITES.test(suite.name))];
  return inOrder.flatMap(({ tests }) => {
    const chosen = tests.filter(isChosen);
    return Array.from({ length: Math.ceil(chosen.length / MOST_OF_A_PROCESS) }, (_, i) =>
      chosen.slice(i * MOST_OF_A_PROCESS, (i + 1) * MOST_OF_A_PROCESS),
    );
  });
}

/**
 * Runs some tests in a process. If the process ends before its report, the test that was running fails, and the tests after it do not count
 * as passed.
 */
async function runBatch(program, tests, env, report) {
  const { output, ending } = await outputOf(program, [`--gtest_filter=${tests.join(':')}`, `--gtest_output=json:${report}`], env);
  const results = reportedIn(report);
  const ended = results.filter((test) => test.result === 'COMPLETED');
  const failures = ended.filter((test) => test.failures !== undefined).map((test) => `${test.classname}.${test.name}`);
  if (results.length === 0) failures.push(`${lastStarted(output) ?? tests[0]}: its process ended with ${ending}`);
  else if (failures.length === 0 && ending !== '0') failures.push(`${tests.at(-1)}: its process ended with ${ending} after its tests`);
  if (failures.length > 0) console.log(output.trimEnd());
  return { passed: ended.filter((test) => test.failures === undefined).length, failures };
}

function reportedIn(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).testsuites.flatMap((suite) => suite.testsuite);
  } catch {
    return [];
  }
}

function lastStarted(output) {
  return [...output.matchAll(/^\[ RUN {6}\] (\S+)/gm)].at(-1)?.[1];
}

/** Returns the output of the program, and its exit code or the signal that ended it. */
function outputOf(program, args, env) {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => resolve({ output: error.message, ending: 'an error' }));
    child.on('close', (code, signal) => resolve({ output, ending: signal ?? String(code) }));
  });
}
