// The command line of the measurement.
import { parseArgs } from 'node:util';

const usage = `npm run overhead -- [options]

What the history of a run (events, digests, states, views) costs beyond its steps on a bare engine.

  --runs N           runs to measure, one after the other; default 1
  --preset P         of their settings; default short
  --steps N          steps of pruning; default those of the preset
  --recover-steps N  steps of recovery; default those of the preset
  --segment-steps N  longest stretch between two recorded states; default that of the preset
  --threads N        of the engine; default 2
  --turn-ms N        how long the run and the bare engine work in turn; default 3000
  --plan FOLDER      keeps the run that tells where segments end, and takes it from there the next time
  --out FILE         adds each turn to this file, a JSON object a line; the figures are then of all turns in it
  --help`;

export interface OverheadArguments {
  runs: number;
  settings: { preset: string } & Record<'totalSteps' | 'recoverSteps' | 'segmentSteps', number | undefined>;
  threads: number;
  turnMs: number;
  plan: string | undefined;
  out: string | undefined;
}

/** Carries the text to print instead of measuring. The exit code is 0 for --help and 2 for a mistake. */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly exitCode: 0 | 2,
  ) {
    super(message);
  }
}

export function parseArguments(args: string[]): OverheadArguments {
  const values = parsed(args);
  if (values.help) throw new UsageError(usage, 0);
  const number = (name: Exclude<keyof typeof values, 'help'>, least: number, most: number): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new UsageError(`--${name} must be a whole number from ${least} to ${most}, not ${JSON.stringify(values[name])}`, 2);
    }
    return value;
  };
  const ifGiven = (...[name, least, most]: Parameters<typeof number>): number | undefined =>
    values[name] === undefined ? undefined : number(name, least, most);
  return {
    runs: number('runs', 1, 1000),
    settings: {
      preset: values.preset,
      totalSteps: ifGiven('steps', 10, 10_000),
      recoverSteps: ifGiven('recover-steps', 0, 100_000),
      segmentSteps: ifGiven('segment-steps', 1, 100_000),
    },
    threads: number('threads', 1, 1024),
    turnMs: number('turn-ms', 500, 60_000),
    plan: values.plan,
    out: values.out,
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      strict: true,
      allowPositionals: false,
      options: {
        runs: { type: 'string', default: '1' },
        preset: { type: 'string', default: 'short' },
        steps: { type: 'string' },
        'recover-steps': { type: 'string' },
        'segment-steps': { type: 'string' },
        threads: { type: 'string', default: '2' },
        'turn-ms': { type: 'string', default: '3000' },
        plan: { type: 'string' },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${usage}`, 2);
  }
}
