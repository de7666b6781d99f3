// The cost of a test file in seconds of a processor, with all processes that it started: servers, engines, commands.
const { readdirSync, readFileSync } = require('node:fs');

const TICKS_A_SECOND = 100; // of Linux, in /proc
const LOOKS_EVERY_MS = 200;

/**
 * Counts processor time from the moment at which it is made. The kernel adds the time of a process to that of its parent when the parent
 * has seen its end. A process whose parent was killed is lost to that sum. So this class knows all processes below this one, looks at them
 * at intervals, and adds what it last saw of those that lost their parent.
 */
module.exports = class ProcessorSeconds {
  #before = ticksOf('self').all;
  #below = new Map(); // by a process and its start: its state and its ticks when it was last seen
  #looking;

  constructor() {
    this.#looking = setInterval(() => this.#look(), LOOKS_EVERY_MS).unref();
  }

  /** Ends the counting. A process that still runs counts with its time until now. */
  end() {
    clearInterval(this.#looking);
    this.#look();
    let ticks = ticksOf('self').all - this.#before;
    for (const { isLost, isThere, all } of this.#below.values()) if (isLost || isThere) ticks += all;
    return ticks / TICKS_A_SECOND;
  }

  #look() {
    const there = new Map();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const seen = ticksOf(name);
      if (seen !== null) there.set(Number(name), seen);
    }
    const keyOf = (pid) => `${pid} ${there.get(pid)?.start}`;
    const isBelow = (pid) => pid === process.pid || this.#below.has(keyOf(pid));
    for (const known of this.#below.values()) known.isThere = false;
    // A child may be listed before its parent, so the processes are gone through until there is no new one.
    for (let isNew = true; isNew;) {
      isNew = false;
      for (const [pid, { parent }] of there) {
        if (pid === process.pid || this.#below.has(keyOf(pid)) || !isBelow(parent)) continue;
        this.#below.set(keyOf(pid), {});
        isNew = true;
      }
    }
    for (const [pid, { parent, all }] of there) {
      const known = this.#below.get(keyOf(pid));
      if (known !== undefined) Object.assign(known, { all, isThere: true, isLost: !isBelow(parent) });
    }
  }
};

/** Returns a process's parent, its start, and its time with that of its ended children. Returns null where there is no such process. */
function ticksOf(pid) {
  try {
    // Behind the name in parentheses: fields 4 (parent), 14 to 17 (user and system time of the process and of its ended children) and 22
    // (start) of proc(5).
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
    const all = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
    return { parent: Number(fields[1]), start: fields[19], all };
  } catch {
    return null;
  }
}
