// The start of a bundled program. The program's files are compiled once, and later starts load the compiled code from files beside them. V8
// refuses compiled code that another version of V8, or another processor, made. scripts/bundle.mjs puts this file beside the programs.
const { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { basename, dirname, join, resolve } = require('node:path');
const { cachedDataVersionTag, setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');
const { isMainThread } = require('node:worker_threads');

/** After this time a server is ready, and the code that a start needs has been compiled. */
const STARTED_AFTER_MS = 3_000;

/** Runs a file of the bundle, and the files that it requires. @param program the program's name, under which its compiled code is kept */
module.exports = function start(program, entry) {
  // V8 optimizes only code that runs for long: the processes work in short bursts, some of them between an engine's steps, and optimizing
  // other code takes more time than it saves.
  if (isMainThread) setFlagsFromString('--interrupt-budget=2000000');
  const tag = cachedDataVersionTag(); // the tag of V8, its flags and the processor
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
    const script = new Script(source, { filename: file, cachedData });
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

/** Writes the file whole or not at all, because V8 trusts what it reads. If the file can't be written, the next start compiles again. */
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
      // the file belongs to another user, who may not look there
    }
  }
}
