// An engine of this machine that dials in to a server elsewhere: the engine's process in front, with the options of this command.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Command } from 'commander';
import { programFile } from '#files';
import { CliError, ExitCode } from '../../cli-error.js';
import { buildEngineOnce } from '../../local-server/engine-build.js';
import { cardCount, deviceList, positiveNumber, threadCount } from '../../options/parse.js';
import { action, examples } from '../command.js';

const ENGINE = new URL('../../../../engine/src/main.js', import.meta.url);
/** The engine ends its step first, and kills itself after 30 s. */
const TIDY_UP_MS = 35_000;

interface EngineOptions {
  join: string;
  name?: string;
  device?: string;
  devices?: string[];
  cards?: string;
  threads?: string;
  tokenFile?: string;
  tlsCa?: string;
  idleTimeout?: number;
  modelCache?: string;
  modelCacheLimit?: string;
}

export function registerEngine(program: Command): void {
  const engine = program
    .command('engine')
    .summary('run an engine here for a server elsewhere')
    .description(
      'Runs an engine on this machine for the runs of a server elsewhere. It dials in to the address of the server ' +
        '(espalier up --listen), so it needs no open port, and dials in again when it was cut off. It ends with Ctrl-C, or when its ' +
        'token is revoked. Its token is one of: espalier token create --role engine.',
    )
    .requiredOption('--join <address>', 'the server: https://host:port, or host:port on this machine')
    .option('--name <name>', 'how the server calls the engine (default: the name of this machine, and of the card in --device)')
    .option('--device <name>', 'that it computes on (default: auto, the first that can be used)')
    .option('--devices <names>', 'several devices alike, which compute the steps of a run together, e.g. cuda:0,cuda:1', deviceList)
    .option('--cards <n>', 'instead of names: this number of the devices that can be used', cardCount)
    .option('--threads <n>', 'number of threads of each device (default: the cores divided by the devices)', threadCount)
    .option('--model-cache <dir>', 'models that come from the server (default: ~/.cache/espalier/models)')
    .option('--model-cache-limit <bytes>', 'such as 500GB; models that were not used lately go first (default: 200GiB)')
    .option(
      '--idle-timeout <seconds>',
      'end after this time without work, but wait a minute at least for the first run (default: stay)',
      positiveNumber,
    );
  examples(engine, [
    'espalier engine --join https://lab.example.org:7433 --tls-ca authority.pem --token-file token --name node7 --device cuda:0',
  ]);
  action<EngineOptions>(engine, async (context, _, given) => {
    const { join, name, threads, tokenFile, tlsCa, idleTimeout } = given;
    const device = deviceOf(given);
    const options = { '--join': join, '--name': name, '--device': device, '--threads': threads, '--idle-timeout': idleTimeout?.toString() };
    const cache = { '--model-cache': given.modelCache, '--model-cache-limit': given.modelCacheLimit };
    const files = { '--token-file': tokenFile ?? (process.env['ESPALIER_TOKEN_FILE'] || undefined), '--tls-ca': tlsCa };
    const all = Object.entries({ ...options, ...cache, ...files });
    const args = all.flatMap(([option, value]) => (value === undefined ? [] : [option, value]));
    await buildEngineOnce(context.signal);
    // The engine ends when this process does, however that ends.
    const child = spawn(process.execPath, [programFile(ENGINE), ...args, '--exit-with-stdin'], { stdio: ['pipe', 'inherit', 'inherit'] });
    const end = (): void => void child.kill('SIGTERM');
    context.allowToTidyUp(TIDY_UP_MS);
    context.signal.addEventListener('abort', end, { once: true });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code ?? ExitCode.failed;
  });
}

/** One way to name the devices is allowed. @throws CliError INVALID_ARGUMENT */
function deviceOf({ device, devices = [], cards }: EngineOptions): string | undefined {
  const counted = cards === undefined ? [] : [Array.from({ length: Number(cards) }, (_, card) => `auto:${card}`).join('+')];
  const named = [...(device === undefined ? [] : [device]), ...devices, ...counted];
  if (named.length > 1) throw new CliError('INVALID_ARGUMENT', 'an engine is given one of --device, --devices and --cards, once');
  return named[0];
}
