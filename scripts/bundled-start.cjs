// How a bundled program begins: its files are compiled once, and later starts take the compiled code from files beside them, which V8
// refuses where another V8 or another processor made them. scripts/bundle.mjs puts this beside the programs.
const { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { basename, dirname, join, resolve } = require('node:path');
const { cachedDataVersionTag, setFlagsFromString } = require('node:v8');
const { constants, Script } = require('node:vm');
const { isMainThread } = require('node:worker_threads');

/** By then a server is ready, and what a start needs has been compiled. */
const STARTED_AFTER_MS = 3_000;

/** Runs a file of the bundle, and those that it asks for. @param program its name, under which its code is kept */
module.exports = function start(program, entry) {
  // Compiles for speed only what runs for long: our processes work in short bursts, some of them between an engine's steps, and what that
  // compiler takes for the rest is never earned back.
  if (isMainThread) setFlagsFromString('--interrupt-budget=2000000');
  const tag = cachedDataVersionTag(); // of V8, its flags and the processor
  const folder = join(__dirname, 'code', `${program.replaceAll('/', '.')}-${tag.toString(16)}`);
  const modules = new Map();
  const fresh = [];

  const load = (file) => {
    const known = modules.get(file);
    if (known !== undefined) return known.exports;
    const module = { exports: {} };
    modules.set(file, module);
    const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`;
    const kept = join(folder, basename(file));
    const cachedData = readIfThere(kept);
    const script = new Script(source, { filename: file, cachedData, importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
    if (cachedData === undefined || script.cachedDataRejected) fresh.push({ script, kept });
    const fromPackages = createRequire(file);
    const require = Object.assign((id) => (id.startsWith('.') ? load(resolve(dirname(file), id)) : fromPackages(id)), fromPackages);
    script.runInThisContext()(module.exports, require, module, file, dirname(file));
    return module.exports;
  };

  let isKept = false;
  const keep = () => {
    if (isKept || fresh.length === 0) return;
    isKept = true;
    for (const { script, kept } of fresh) write(kept, script.createCachedData());
  };
  if (isMainThread) {
    setTimeout(keep, STARTED_AFTER_MS).unref();
    process.once('exit', keep);
  }
  load(entry);
};

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** Whole or not at all, since V8 believes what it reads. Without room, or the right to write there, the next start compiles again. */
function write(file, code) {
  const part = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(part, code, { flush: true });
    renameSync(part, file);
  } catch {
    try {
      rmSync(part, { force: true });
    } catch {
      // of another user, who may not even look there
    }
  }
}
