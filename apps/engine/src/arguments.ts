// The command line of the engine process.
import { parseArgs } from 'node:util';
import { addressProblem, isLoopbackAddress } from '#local-access';

const usage = `espalier engine: one process, one device, driven over espalier.engine.v1

  --listen ADDRESS      unix:/absolute/path or HOST:PORT (port 0: any free one); required
  --device DEVICE       auto, or one that DescribeEngine lists; default: auto, the first that can be used
  --threads N           processor threads to use; default 0: all
  --scratch FOLDER      where exports are put together before they are sent; default: the system's folder for such
  --exit-with-stdin     end when standard input closes, so that the process never outlives its parent
  --allow-insecure-remote  listen on an address other machines can reach; there is no encryption and no login
  --list-devices        print what DEVICE may be as JSON, and end
  --help`;

export interface EngineArguments {
  listen: string;
  device: string;
  threads: number;
  scratch: string | undefined;
  exitWithStdin: boolean;
}

/** The only one where there is nothing to serve. */
export const LIST_DEVICES = '--list-devices';

/** Ends the program with a text for the user instead of starting; exit code 0 for --help, 2 for a mistake. */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly exitCode: 0 | 2,
  ) {
    super(message);
  }
}

export function parseArguments(args: string[]): EngineArguments {
  const values = parsed(args);
  if (values.help) throw new UsageError(usage, 0);
  const threads = Number(values.threads ?? 0);
  if (!Number.isInteger(threads) || threads < 0 || threads > 1024)
    throw new UsageError(`--threads must be an integer from 0 to 1024, not ${values.threads}`, 2);
  return {
    listen: checkedAddress(values.listen, values['allow-insecure-remote'] ?? false),
    device: values.device ?? 'auto',
    threads,
    scratch: values.scratch,
    exitWithStdin: values['exit-with-stdin'] ?? false,
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      strict: true,
      allowPositionals: false,
      options: {
        listen: { type: 'string' },
        device: { type: 'string' },
        threads: { type: 'string' },
        scratch: { type: 'string' },
        'exit-with-stdin': { type: 'boolean' },
        'allow-insecure-remote': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message, 2);
  }
}

function checkedAddress(listen: string | undefined, allowRemote: boolean): string {
  if (listen === undefined) throw new UsageError(`--listen is required\n\n${usage}`, 2);
  const problem = addressProblem(listen, { anyPort: true });
  if (problem !== null) throw new UsageError(`--listen ${listen}: ${problem}`, 2);
  if (!isLoopbackAddress(listen) && !allowRemote) {
    throw new UsageError(
      `--listen ${listen}: other machines can reach it, and the engine has no login; use 127.0.0.1, or say --allow-insecure-remote`,
      2,
    );
  }
  return listen;
}
