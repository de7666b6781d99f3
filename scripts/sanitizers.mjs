// The tests under AddressSanitizer and UndefinedBehaviorSanitizer, and the record of their last pass.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const RECORD = join(root, 'native-engine', 'sanitized.txt');
const TITLE =
  'The digest of the sources, tests and flags with which all tests passed under the sanitizers. `npm run sanitizers` writes it.';

/** How the engine is built with sanitizers. */
export const SANITIZED_BUILD = [
  '-DCMAKE_BUILD_TYPE=Debug',
  '-DESPALIER_SANITIZE=address,undefined',
  '-DESPALIER_NODE_ADDON=ON',
  '-DESPALIER_CUDA=OFF',
];

/**
 * OpenMP keeps its pool until the process ends, so leaks are not looked for. With the use-after-return check, GCC 12 turns a
 * memcpy to a local array into a store aligned to 64 bytes. The check's fake stack is not aligned so, and the test would crash.
 */
export const SANITIZER_OPTIONS = {
  ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
};

/** Tests of bits or costs, or of memory that the sanitizers watch over themselves. No run under the sanitizers has them. */
export const NOT_FOR_SANITIZERS = [
  'emulated._early|CudaOrders|HoweverTheDeviceOrders|However(Its|Their)QueuesRun', // other orders of blocks and copies on the emulated card
  'hidden_memory|HiddenMemory|LearnOnOtherDevices',
  'CostsWhatItsTilesSay',
  'ReadsTheTensorsOfAFileUpToALimit', // 262,144 tensors; other tests of JsonReader meet each limit with few
];

/** Files that no build and no test with the sanitizers reads: documents, the record itself, shell scripts, and tests of whole programs. */
const WITHOUT_SANITIZERS = /\.(md|sh)$|\/sanitized\.txt$|\/gpu-check[^/]*\.ts$|\.long\.test\.ts$/;

/**
 * Returns the digest of everything that decides about a pass: the engine's sources, its tests, how they are built, and which tests run how.
 */
export function sanitizedDigest() {
  const hash = createHash('sha256');
  for (const file of [...filesIn('native-engine'), 'scripts/sanitizers.mjs'])
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

/** Tells whether all tests have passed with these very sources. */
export function isSanitized() {
  try {
    return readFileSync(RECORD, 'utf8').split('\n')[1] === sanitizedDigest();
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Records a pass of all tests.
 * @param before the digest when the build began; a pass of sources that changed meanwhile is not recorded
 * @param counts of the run
 * @returns whether it was recorded
 */
export function recordSanitized(before, { passed, failed, unsteady = [] }) {
  if (failed > 0 || passed === 0 || unsteady.length > 0 || before !== sanitizedDigest()) return false;
  writeFileSync(RECORD, `${TITLE}\n${before}\n`);
  return true;
}

function filesIn(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .sort((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) return /^(build.*|node_modules)$/.test(entry.name) ? [] : filesIn(path);
      return !entry.isFile() || WITHOUT_SANITIZERS.test(path) ? [] : [path];
    });
}
