// The order of the test files: the longest come first, so that all processes of jest end at about the same time. Jest knows how long each
// file took the last time. On a fresh clone it takes the size of the files instead, but the tests of whole servers take longest, whatever
// their size.
const Sequencer = require('@jest/test-sequencer').default;

const OF_SERVERS = /\/(orchestrator\/test|local-server)\/[^/]+$/;

module.exports = class extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    if (sorted.some(({ duration }) => duration !== undefined)) return sorted;
    return [...sorted.filter(({ path }) => OF_SERVERS.test(path)), ...sorted.filter(({ path }) => !OF_SERVERS.test(path))];
  }
};
