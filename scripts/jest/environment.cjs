// The surroundings of a test file: Node's own globals with those of jest. The changes that a file makes to its process are undone when it
// has ended, because the next file runs in the same process (runtime.cjs).
const { appendFileSync, readFileSync } = require('node:fs');
const { ModernFakeTimers } = require('@jest/fake-timers');
const { ModuleMocker } = require('jest-mock');

const TICKS_A_SECOND = 100; // of Linux, in /proc

module.exports = class Environment {
  global = globalThis;
  moduleMocker = new ModuleMocker(globalThis);
  fakeTimersModern;
  #file;
  #before = {
    console: globalThis.console,
    exit: process.exit,
    exitCode: process.exitCode,
    env: { ...process.env },
    folder: process.cwd(),
    seconds: processorSeconds(),
  };

  constructor({ projectConfig }, { testPath }) {
    this.fakeTimersModern = new ModernFakeTimers({ config: projectConfig, global: globalThis });
    this.#file = testPath;
  }

  async setup() {}

  async teardown() {
    const { console, exit, exitCode, env, folder, seconds } = this.#before;
    this.fakeTimersModern.dispose();
    this.moduleMocker.restoreAllMocks();
    for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
    Object.assign(process.env, env);
    if (process.cwd() !== folder) process.chdir(folder);
    process.exitCode = exitCode;
    Object.assign(process, { exit });
    Object.assign(globalThis, { console });
    const costs = process.env.ESPALIER_TEST_COSTS;
    if (costs) appendFileSync(costs, `${(processorSeconds() - seconds).toFixed(2)} ${this.#file}\n`);
  }

  /** jest asks for it, but files run in no context of their own. */
  getVmContext() {
    return null;
  }
};

/** Returns the processor's time of this process and of those below it that have ended, except of a process whose parent was killed. */
function processorSeconds() {
  // Behind the name in parentheses, the fields 14 to 17 of proc(5): user and system time of this process, and of its ended children.
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1).split(' ').slice(11, 15);
  return fields.reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_A_SECOND;
}
