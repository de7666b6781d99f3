// The command line of the engine process.
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { typedNumber } from '#comparison';
import { SLICE_BYTES } from '#files';
import { addressProblem, isLoopbackAddress } from '#local-access';

const usage = `espalier engine: one process, one device or several alike, driven over espalier.engine.v1

  --listen ADDRESS      unix:/absolute/path or HOST:PORT (port 0: any free one); required, or --join
  --join ADDRESS        dial in to an orchestrator in place of listening: https://HOST:PORT, or HOST:PORT on this machine
  --token-file FILE     with --join: the token to show, of the role engine
  --tls-ca FILE         with --join: the authority of the orchestrator's certificate (else those that Node trusts)
  --name NAME           with --join: how the orchestrator calls this engine; default: the name of this machine, and of the card in --device
  --idle-timeout N      with --join: end after N seconds without work, before the first run after a minute or more; default: stay
  --model-cache DIR     with --join: models that come from the orchestrator; default: ~/.cache/espalier/models
  --model-cache-limit BYTES  with --join: such as 500GB; models not used lately go first; default: 200GiB
  --device DEVICE       auto, or one that DescribeEngine lists; default: auto, the first that can be used. Several alike, joined by +,
                        compute the steps of a run together: cuda:0+cuda:1
  --threads N           processor threads of each device; default 0: all, shared out among them
  --scratch FOLDER      where outlines of offered models lie, and states on their way to and from an orchestrator that shares no folder;
                        default: the system's folder for such
  --exit-with-stdin     end when standard input closes, so that the process never outlives its parent
  --allow-insecure-remote  listen on an address other machines can reach; there is no encryption and no login
  --list-devices        print what DEVICE may be as JSON, and end
  --help`;

export interface JoinArguments {
  /** HOST:PORT */
  address: string;
  tls: boolean;
  tokenFile: string;
  tlsCa: string | undefined;
  name: string;
  /** Seconds without work after which the engine ends; undefined: it stays. */
  idleTimeout: number | undefined;
  /** undefined: the usual folder. */
  modelCache: string | undefined;
  modelCacheBytes: number;
}

export interface EngineArguments {
  /** An address to listen at, or an orchestrator to dial in to. */
  at: { listen: string } | { join: JoinArguments };
  device: string;
  threads: number;
  scratch: string | undefined;
  /** A larger state is kept in slices of this size. Tests set it by ESPALIER_SLICE_BYTES; all engines of a server must have the same. */
  sliceBytes: number;
  exitWithStdin: boolean;
}

const IDLE_SECONDS_MAX = 86_400;
const MODEL_CACHE_LIMIT = '200GiB';
/** Smaller limits are refused, since no model is smaller. */
const FOLDER_BYTES_MIN = 1 << 20;

/** The only option with which the engine serves nothing: it lists its devices. */
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
  for (const [option, value] of Object.entries(values))
    if (value === '') throw new UsageError(`--${option} is empty: leave it out, or give it a value`, 2);
  const threads = Number(values.threads ?? 0);
  if (!Number.isInteger(threads) || threads < 0 || threads > 1024)
    throw new UsageError(`--threads must be an integer from 0 to 1024, not ${values.threads}`, 2);
  return {
    at: values.join === undefined ? { listen: listenAddress(values) } : { join: joinArguments(values.join, values) },
    device: values.device ?? 'auto',
    threads,
    scratch: values.scratch,
    sliceBytes: Number(process.env['ESPALIER_SLICE_BYTES'] ?? SLICE_BYTES),
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
        join: { type: 'string' },
        'token-file': { type: 'string' },
        'tls-ca': { type: 'string' },
        name: { type: 'string' },
        'idle-timeout': { type: 'string' },
        'model-cache': { type: 'string' },
        'model-cache-limit': { type: 'string' },
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

type Values = ReturnType<typeof parsed>;

function listenAddress(values: Values): string {
  for (const option of ['token-file', 'tls-ca', 'name', 'idle-timeout', 'model-cache', 'model-cache-limit'] as const)
    if (values[option] !== undefined) throw new UsageError(`--${option} goes with --join`, 2);
  return checkedAddress(values.listen, values['allow-insecure-remote'] ?? false);
}

/** As for every client: a token goes to another machine with TLS only, unless the user writes http://. */
function joinArguments(join: string, values: Values): JoinArguments {
  const wrong = (option: string, why: string): UsageError => new UsageError(`${option}: ${why}`, 2);
  if (values.listen !== undefined) throw wrong('--listen', 'an engine listens, or it dials in with --join');
  const [, scheme = '', address = ''] = /^(https?:\/\/)?([^/]+)\/?$/.exec(join) ?? [];
  if (address.startsWith('unix:') || addressProblem(address, { anyPort: false }) !== null)
    throw wrong(`--join ${join}`, 'https://HOST:PORT is allowed, or HOST:PORT on this machine');
  if (scheme === '' && !isLoopbackAddress(address))
    throw wrong(`--join ${join}`, 'the token goes to another machine with TLS: write https://, or http:// where something else encrypts');
  const tls = scheme === 'https://';
  if (!tls && values['tls-ca'] !== undefined) throw wrong('--tls-ca', 'goes with https://');
  if (values['token-file'] === undefined)
    throw wrong('--token-file', 'is needed: `espalier token create --role engine --name NAME` makes a token');
  const idleTimeout = values['idle-timeout'] === undefined ? undefined : Number(values['idle-timeout']);
  if (idleTimeout !== undefined && !(Number.isInteger(idleTimeout) && idleTimeout >= 1 && idleTimeout <= IDLE_SECONDS_MAX))
    throw wrong(`--idle-timeout ${values['idle-timeout']}`, `a whole number of seconds from 1 to ${IDLE_SECONDS_MAX} is allowed`);
  return {
    address,
    tls,
    tokenFile: values['token-file'],
    tlsCa: values['tls-ca'],
    name: values.name ?? usualName(values.device),
    idleTimeout,
    modelCache: values['model-cache'],
    modelCacheBytes: limitOf('model-cache-limit', values['model-cache-limit'] ?? MODEL_CACHE_LIMIT),
  };
}

function limitOf(option: string, text: string): number {
  try {
    const bytes = typedNumber({ share: false, unit: 'bytes' }, text);
    if (bytes >= FOLDER_BYTES_MIN && Number.isSafeInteger(bytes)) return bytes;
  } catch {
    // Told below.
  }
  throw new UsageError(`--${option} ${text}: a number of bytes from 1MiB is allowed, such as 500GB`, 2);
}

/** The name of the machine, and of the card in --device, in the letters that a name may have. */
function usualName(device: string | undefined): string {
  const card = device?.startsWith('cuda') ? `-${device}` : ''; // each card of a machine may have an engine that joins
  return (
    `${hostname()}${card}`
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 64) || 'engine'
  );
}

function checkedAddress(listen: string | undefined, allowRemote: boolean): string {
  if (listen === undefined) throw new UsageError(`--listen or --join is required\n\n${usage}`, 2);
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
