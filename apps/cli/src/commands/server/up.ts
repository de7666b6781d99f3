import { Option, type Command } from 'commander';
import { Connection } from '../../connection/connection.js';
import { announcement, COPIED_WORDS, serverOf } from '../../connection/server-address.js';
import {
  existingFolders,
  absolutePath,
  cardCount,
  deviceList,
  deviceNames,
  engineAddresses,
  engineCount,
  listenAddress,
  runCount,
  threadCount,
  webAddress,
} from '../../options/parse.js';
import { dashboardLink } from '../../local-server/dashboard-link.js';
import { toStandardError } from '../../output/terminal.js';
import { logFileOf, runInForeground, startStack, STOP_TIMEOUT_MS, stopStack, type StoppedServer } from '../../local-server/stack.js';
import { action, examples } from '../command.js';
import { engineProblems } from './engine-problems.js';
import { storeProblems } from './store-problems.js';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

const ANSWER_TIMEOUT_MS = 5_000;

interface UpOptions {
  detach?: boolean;
  listen?: string;
  web?: string;
  eventStore?: string;
  artifacts?: string;
  s3Endpoint?: string;
  s3Region?: string;
  s3Cache?: string;
  acceptStore?: boolean;
  engines?: string;
  engine?: string[];
  device?: string[];
  devices?: string[];
  cards?: string;
  threads?: string;
  dataRoot?: string[];
  tlsCert?: string;
  tlsKey?: string;
  tlsClientCa?: string;
  fleet?: string;
  webhooks?: string;
  oidc?: string;
  runsPerCaller?: string;
  engineHours?: string;
  viewersReadTexts?: boolean;
  allowInsecureRemote?: boolean;
  openLoopback?: boolean;
  logLevel?: string;
}

export function registerUp(program: Command): void {
  const up = program
    .command('up')
    .summary('start the server: orchestrator, event store and engine')
    .description(
      'Starts the server on its data folder: the orchestrator with its embedded event store, artifact folder and engine. ' +
        'Runs that were under way go on by themselves. In front it ends with Ctrl-C; its runs go on at the next start.',
    )
    .option('-d, --detach', 'leave it running in the background')
    .option('--listen <host:port>', 'where it answers (default 127.0.0.1:7433)', listenAddress)
    .option('--web <host:port>', 'where the dashboard is, or off (default 127.0.0.1:7434, or any free port)', webAddress)
    .option(
      '--event-store <url>',
      'an EventStoreDB or KurrentDB instead of the embedded store, e.g. esdb://user:password@host:2113, ' +
        "or the file event-store.url of another server's data folder, to stand by for it",
    )
    .option(
      '--artifacts <folder>',
      'states, tokens and exports, in a folder or a bucket (s3://BUCKET/PREFIX) that servers on one event store share ' +
        '(default: in the data folder)',
    )
    .option('--s3-endpoint <url>', 'with --artifacts s3://..., the address of a server that speaks S3 (default: AWS)')
    .option('--s3-region <name>', 'the region of the bucket (default: AWS_REGION, or the region of the profile)')
    .option('--s3-cache <bytes>', 'files of the bucket that this machine keeps, e.g. 200GB (default: 20GiB)')
    .option(
      '--accept-store',
      'take the event store as it is, though events are missing in it or the artifact folder is that of another store. For one start: ' +
        'what no event of it names is set aside after a day, and removed a week later',
    )
    .option('--engines <n>', 'engines that it starts, each for one run at a time (default: 1, or 0 with --engine or --fleet)', engineCount)
    .option('--engine <address>', 'an engine that runs already; may be given again', engineAddresses)
    .option(
      '--device <name>',
      'that its engines compute on (default: auto, the first that can be used); given once for all, or once for each engine',
      deviceNames,
    )
    .option('--devices <names>', 'several alike, that compute the steps of a run together: cuda:0,cuda:1; may be given again', deviceList)
    .option('--cards <n>', 'instead of names: this number of devices in each engine, of those that can be used (default: 1)', cardCount)
    .option('--threads <n>', 'number of threads of each device (default: the cores divided by the devices of the engines)', threadCount)
    .option(
      '--allow-insecure-remote',
      'let --listen and --web without TLS, and --engine, go beyond this machine: a user who sees the traffic sees the token',
    )
    .option('--tls-cert <file>', 'speak TLS with this certificate; new files are taken without a restart', absolutePath)
    .option('--tls-key <file>', 'its private key', absolutePath)
    .option('--tls-client-ca <file>', 'let in only clients with a certificate of this authority', absolutePath)
    .option('--data-root <folder>', 'callers with a token may name models and texts in this folder; may be given again', existingFolders)
    .option('--viewers-read-texts', 'let viewers see paths outside the data roots, and download texts, tokens and states of runs')
    .option('--open-loopback', 'ask clients for no token: every user of this machine may do everything')
    .addOption(new Option('--log-level <level>', 'the least that is logged (default: info)').choices(LOG_LEVELS));
  addFilesAndLimits(up);
  examples(
    up,
    ['espalier up', 'in front, log on the terminal'],
    ['espalier up --detach', 'in the background; ends with: espalier down'],
    ['espalier up --detach --engines 2', 'two runs side by side, each with half of the cores'],
    ['espalier up --detach --fleet slurm.yaml', 'engines are jobs of a cluster, asked for when runs wait'],
    ['espalier --data-folder /var/espalier up --listen 127.0.0.1:7500'],
  );
  action<UpOptions>(
    up,
    async (context, _, options) => {
      const { dataFolder, output, signal } = context;
      const stack = { ...options, device: enginesDevices(options), dataFolder };
      if (!options.detach) {
        context.allowToTidyUp(STOP_TIMEOUT_MS);
        return runInForeground(stack, signal);
      }
      const running = await startStack(stack, signal);
      const unused = running.wasRunning
        ? Object.keys(serverOptions(options)).filter((name) => name !== 'listen' || options.listen !== running.listen)
        : [];
      if (unused.length > 0) {
        const names = unused.map((name) => up.options.find((option) => option.attributeName() === name)?.long).join(', ');
        const hold = unused.length === 1 ? 'holds' : 'hold';
        toStandardError(`a server runs already, with its own options: ${names} ${hold} after \`espalier down\` and another \`up\``);
      }
      const problems = running.wasRunning ? [] : await problemsOfServer(dataFolder, signal);
      if (running.wasRunning) await hearRelease(dataFolder, signal);
      for (const problem of problems) toStandardError(problem);
      const { listen, web, pid, logFile, wasRunning } = running;
      output.result({ listen, ...(web === undefined ? {} : { web }), pid, logFile, wasRunning }, () => {
        output.line(`${wasRunning ? 'already running' : 'running'} at ${listen} (process ${pid}), log in ${logFile}`);
        const link = dashboardLink(dataFolder, running);
        if (link !== null) output.line(`dashboard: ${link}`);
      });
    },
    { localOnly: true },
  );
  registerDown(program);
}

function addFilesAndLimits(up: Command): void {
  up.option('--fleet <file>', 'engines to ask a cluster or this machine for when runs wait, in YAML', absolutePath)
    .option('--webhooks <file>', 'programs to tell of runs that ended and of a full disk, in YAML', absolutePath)
    .option('--oidc <file>', 'the OpenID provider by which people log in, in YAML', absolutePath)
    .option(
      '--runs-per-caller <n>',
      'runs that have not ended which one caller may have; admins have no limit (default: no limit)',
      runCount,
    )
    .option('--engine-hours <file>', 'the engine hours that callers may use, in YAML (docs/people.md)', absolutePath);
}

/** Returns the devices of each engine; undefined: none are named. */
function enginesDevices({ device = [], devices = [] }: UpOptions): string[] | undefined {
  const named = [...device, ...devices];
  return named.length > 0 ? named : undefined;
}

function registerDown(program: Command): void {
  const down = program
    .command('down')
    .summary('stop the server of this data folder')
    .description('Asks the server to stop and waits for it. Its runs stop at the next step, keep everything, and go on at the next start.');
  examples(down, ['espalier down']);
  action(
    down,
    async ({ dataFolder, output, signal }) => {
      const why = announcement(dataFolder)?.isCopied === true ? `: ${COPIED_WORDS}` : '';
      const stopped = await stopStack(dataFolder, signal);
      output.result({ stopped: stopped !== null, pid: stopped?.pid ?? null, inOrder: stopped?.inOrder ?? null }, () => {
        output.line(stopped === null ? `no server runs on ${dataFolder}${why}` : `${howItEnded(stopped)} ${logFileOf(dataFolder)}`);
      });
    },
    { localOnly: true },
  );
}

function howItEnded({ pid, inOrder }: StoppedServer): string {
  if (inOrder) return `stopped (process ${pid}); its log stays in`;
  return (
    `process ${pid} has ended, but not in good order: steps that were not recorded are trained again at the next start, ` +
    'and jobs under way are lost. Its log says more:'
  );
}

/** Makes any call to a server that ran already. Its answer tells the server's release, so the command warns where the release differs. */
async function hearRelease(dataFolder: string, signal: AbortSignal): Promise<void> {
  const connection = new Connection(serverOf(dataFolder)!, signal);
  await connection.call(connection.engines, connection.engines.listEngines, {}, ANSWER_TIMEOUT_MS).catch(() => undefined);
  connection.close();
}

/** Returns the problems of the server's stores and engines. Returns none if the server can't be asked, since it runs anyway. */
async function problemsOfServer(dataFolder: string, signal: AbortSignal): Promise<string[]> {
  const connection = new Connection(serverOf(dataFolder)!, signal);
  try {
    return [...(await storeProblems(connection)), ...(await engineProblems(connection))];
  } catch {
    return [];
  } finally {
    connection.close();
  }
}

const SERVER_OPTIONS = [
  ...([
    'listen',
    'web',
    'eventStore',
    'artifacts',
    's3Endpoint',
    's3Region',
    's3Cache',
    'acceptStore',
    'engines',
    'engine',
    'device',
    'devices',
    'cards',
    'threads',
    'dataRoot',
  ] as const),
  ...([
    'tlsCert',
    'tlsKey',
    'tlsClientCa',
    'fleet',
    'webhooks',
    'oidc',
    'runsPerCaller',
    'engineHours',
    'viewersReadTexts',
    'allowInsecureRemote',
    'openLoopback',
    'logLevel',
  ] as const),
];

/** Returns the options that were given for the server itself. */
function serverOptions(options: UpOptions): Partial<UpOptions> {
  return Object.fromEntries(SERVER_OPTIONS.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
}
