// Jest loads test files by Node's own import with this runtime, so the files that run in one process share the modules which they import.
// Jest's own runtime loads all modules again for each file, in a context of its own (node:vm), which costs most files more time than their
// tests. environment.cjs undoes what a file could leave behind for the next one.
const { dirname, sep } = require('node:path');
const { pathToFileURL } = require('node:url');

const circus = dirname(require.resolve('jest-circus')) + sep;
const circusHandlers = Symbol.for('EVENT_HANDLERS');

let runs = 0;

/** Has those methods of jest-runtime that jest-runner and jest-circus call in this configuration. */
module.exports = class Runtime {
  #environment;

  constructor(_config, environment) {
    this.#environment = environment;
  }

  unstable_shouldLoadAsEsm() {
    return true;
  }

  /** Imports the test file itself again, because the same process may run it again (`--watch`). */
  unstable_importModule(file) {
    runs += 1;
    return import(`${pathToFileURL(file).href}?run=${runs}`);
  }

  /** Loads jest-circus again, because it keeps the tests and hooks of a file in its module. */
  requireInternalModule(file) {
    for (const loaded of Object.keys(require.cache)) if (loaded.startsWith(circus)) delete require.cache[loaded];
    delete globalThis[circusHandlers];
    return require(file);
  }

  requireModule(file) {
    return require(file);
  }

  /** jest-circus sets its own globals. Here "jest" is added, as far as tests use it. */
  setGlobalsForRuntime() {
    const { fakeTimersModern: timers, moduleMocker, global } = this.#environment;
    global.jest = {
      spyOn: moduleMocker.spyOn.bind(moduleMocker),
      useFakeTimers: () => timers.useFakeTimers(),
      useRealTimers: () => timers.useRealTimers(),
      setSystemTime: (time) => timers.setSystemTime(time),
      advanceTimersByTime: (ms) => timers.advanceTimersByTime(ms),
      advanceTimersByTimeAsync: (ms) => timers.advanceTimersByTimeAsync(ms),
    };
  }

  enterTestCode() {}
  leaveTestCode() {}
  teardown() {}

  /** The compiler's maps lie beside the files, where stack traces find them. */
  getSourceMaps() {
    return new Map();
  }

  /** Coverage is not counted. */
  getAllCoverageInfoCopy() {
    return undefined;
  }
};
