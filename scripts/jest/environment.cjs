// The surroundings of a test file: Node's own globals with those of jest. The changes that a file makes to its process are undone when it
// has ended, because the next file runs in the same process (runtime.cjs).
const { appendFileSync } = require('node:fs');
const { ModernFakeTimers } = require('@jest/fake-timers');
const { ModuleMocker } = require('jest-mock');
const ProcessorSeconds = require('./processor-seconds.cjs');

module.exports = class Environment {
  global = globalThis;
  moduleMocker = new ModuleMocker(globalThis);
  fakeTimersModern;
  #file;
  #costs = process.env.ESPALIER_TEST_COSTS;
  #seconds = this.#costs ? new ProcessorSeconds() : null;
  #before = {
    console: globalThis.console,
    exit: process.exit,
    exitCode: process.exitCode,
    env: { ...process.env },
    folder: process.cwd(),
  };

  constructor({ projectConfig }, { testPath }) {
    this.fakeTimersModern = new ModernFakeTimers({ config: projectConfig, global: globalThis });
    this.#file = testPath;
  }

  async setup() {}

  async teardown() {
    const { console, exit, exitCode, env, folder } = this.#before;
    this.fakeTimersModern.dispose();
    this.moduleMocker.restoreAllMocks();
    for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
    Object.assign(process.env, env);
    if (process.cwd() !== folder) process.chdir(folder);
    process.exitCode = exitCode;
    Object.assign(process, { exit });
    Object.assign(globalThis, { console });
    if (this.#seconds) appendFileSync(this.#costs, `${this.#seconds.end().toFixed(2)} ${this.#file}\n`);
  }

  /** jest asks for it, but files run in no context of their own. */
  getVmContext() {
    return null;
  }
};
