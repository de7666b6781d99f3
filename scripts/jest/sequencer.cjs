// The order of the test files: the most expensive come first, so that all processes of jest end at about the same time. Jest knows how
// long each file took the last time. A fresh clone takes costs.txt instead, and the size of the files that costs.txt does not name.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const Sequencer = require('@jest/test-sequencer').default;

module.exports = class extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    if (sorted.some(({ duration }) => duration !== undefined)) return sorted;
    const costs = knownCosts();
    const costOf = ({ path }) => costs.find(({ file }) => path.endsWith(file))?.seconds ?? 0;
    return sorted.sort((one, other) => costOf(other) - costOf(one));
  }
};

/** Reads the processor seconds of the files of eight seconds and more. ESPALIER_TEST_COSTS writes such lines, with whole paths. */
function knownCosts() {
  const lines = readFileSync(join(__dirname, 'costs.txt'), 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [seconds, file] = line.split(' ');
    return { seconds: Number(seconds), file };
  });
}
