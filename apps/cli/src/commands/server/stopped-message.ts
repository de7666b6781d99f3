// The message of a long command that Ctrl-C ended. Commands that follow a run have messages of their own, since the run goes on.
const WORDS: Record<string, string> = {
  eval: 'stopped: evaluations that were done by then stay in the history',
  export: 'stopped: nothing was written',
  ladder: 'stopped: finished evaluations stay in the history, and are not made again',
  bench: 'stopped: nothing is recorded of it',
  verify: 'stopped: the check is not complete',
};

/** Returns the message for a command; '': it has none. */
export const stoppedWords = (command: string): string => WORDS[command] ?? '';
