// The options of the orchestrator. Each is also an environment variable: ESPALIER_DATA_FOLDER for --data-folder.
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { availableParallelism } from 'node:os';
import type { S3Location } from '#artifact-store';
import { addressProblem, isLoopbackAddress, type TlsFiles } from '#local-access';
import { EspalierError, invalidField, type ErrorCode } from '#protocol';
import { accessOptions } from './access-options.js';
import { bucketOf, bucketOptions, type BucketOptions } from './bucket-options.js';
import { engineCount, listed, milliseconds, positive } from './option-values.js';

export const DEFAULT_WEB = '127.0.0.1:7434';
export const WEB_OFF = 'off';
/** The usual limit of a job. An evaluation of one task on a small model takes seconds, one of all tasks on a large model takes hours. */
export const JOB_MINUTES = 60;

export interface OrchestratorConfig {
  dataFolder: string;
  /** The folder of the artifacts or, with a bucket, its cache on this machine. */
  artifactFolder: string;
  /** Undefined where artifacts lie in a folder. */
  bucket: S3Location | undefined;
  /** Whether the user named the place of the artifacts, so that other orchestrators may use it, too. */
  sharesArtifacts: boolean;
  /** The address as host:port. Port 0 picks a free one. */
  listen: string;
  /** The host:port of the web server, or "off" for none. Undefined for the usual port, or any free one where that is taken. */
  web: string | undefined;
  /** The connection string of the event store, or undefined for the embedded one in the data folder. */
  eventStore: string | undefined;
  /** Whether to take the store as it is, though it lacks events that this server has seen, or the artifacts are those of another store. */
  acceptStore: boolean;
  /** The number of engines that this orchestrator starts. */
  engines: number;
  /** The addresses of engines that the user started. */
  namedEngines: string[];
  /** The devices of the local engines, in their order. A single device is for all engines. */
  devices: string[];
  /** The number of devices that each local engine finds by itself, where the device is `auto`. */
  cards: number;
  /** The number of threads for each device of a local engine. */
  threads: number;
  /** The number of threads of named engines, or undefined for each engine's own number. */
  namedThreads: number | undefined;
  /** Segments that the engine ends within this time are recorded together. A crash loses about this much training. */
  recordIntervalMs: number;
  /** How long an orchestrator that shares its event store may be silent before another takes over. */
  leaseSeconds: number;
  /** How long an evaluation, a text or an export may hold an engine that a run waits for. */
  jobMinutes: number;
  /** Whether viewers may download the texts, tokens and states of runs. */
  viewersReadTexts: boolean;
  /** The number of unfinished runs that a caller who is not an admin may have; 0: no limit. */
  runsPerCaller: number;
  /** The file of quotas of engine hours, or undefined for none. */
  engineHours: string | undefined;
  /** Whether other machines may reach the server or an engine without encryption. */
  allowInsecureRemote: boolean;
  /** The folders that must contain the paths in requests with a token. */
  dataRoots: string[];
  /** The files of the server's certificate, or undefined for a server without TLS. */
  tls: TlsFiles | undefined;
  /** The file of a fleet, or undefined for none. */
  fleet: string | undefined;
  /** The file of webhooks, or undefined for none. */
  webhooks: string | undefined;
  /** The file of the OpenID provider by which people log in, or undefined for none. */
  oidc: string | undefined;
  /** Whether every user of this machine may call without a token. */
  openLoopback: boolean;
  logLevel: string;
}

const ACCEPT_STORE =
  'take the event store as it is, though events are missing in it or the artifact folder is that of another store: what no event ' +
  'of it names is then set aside';

function commandLine(): Command {
  // main.ts reports errors.
  const command = new Command('orchestrator')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .description('Serves espalier.v1 and drives the runs.')
    .addOption(new Option('--data-folder <folder>', 'events, artifacts and views').default('./.espalier').env('ESPALIER_DATA_FOLDER'))
    .addOption(
      new Option(
        '--artifacts <folder>',
        'states, tokens and exports, in a folder or a bucket (s3://BUCKET/PREFIX) that orchestrators on one event store share ' +
          '(default: in the data folder)',
      ).env('ESPALIER_ARTIFACTS'),
    )
    .addOption(new Option('--listen <host:port>', 'where to serve').default('127.0.0.1:7433').env('ESPALIER_LISTEN').argParser(hostPort))
    .addOption(
      new Option(
        '--web <host:port>',
        'where to serve the dashboard and the API for browsers, or off (default: 127.0.0.1:7434, or any free port)',
      )
        .env('ESPALIER_WEB')
        .argParser((value) => (value === WEB_OFF ? value : hostPort(value))),
    )
    .addOption(
      new Option(
        '--event-store <url>',
        "connection string of a KurrentDB or EventStoreDB, or the file event-store.url of another server's data folder (default: embedded)",
      ).env('ESPALIER_EVENT_STORE'),
    )
    .addOption(new Option('--accept-store', ACCEPT_STORE).default(false))
    .addOption(
      new Option('--engines <n>', 'engines to start, when there is work for them (default: 1, or 0 with --engine or --fleet)')
        .env('ESPALIER_ENGINES')
        .argParser(engineCount),
    )
    .addOption(
      new Option('--engine <address>', 'an engine that runs already; may be given again (as a variable: a list with commas)')
        .env('ESPALIER_ENGINE')
        .argParser(listed),
    )
    .addOption(
      new Option(
        '--device <name>',
        'of local engines, or auto: the first that can be used; given once for all, or once for each ' +
          '(as a variable: a list with commas); several for one engine are joined by +',
      )
        .env('ESPALIER_DEVICE')
        .argParser(listed),
    )
    .addOption(
      new Option('--cards <n>', 'devices of each local engine, which compute the steps of a run together; with the device auto')
        .default(1)
        .env('ESPALIER_CARDS')
        .argParser(positive),
    )
    .addOption(
      new Option('--threads <n>', 'number of threads of each device (default: the cores divided by the devices of the local engines)')
        .env('ESPALIER_THREADS')
        .argParser(positive),
    )
    .addOption(
      new Option('--record-interval-ms <n>', 'short segments are recorded together, at most so often')
        .default(5000)
        .env('ESPALIER_RECORD_INTERVAL_MS')
        .argParser(milliseconds),
    )
    .addOption(
      new Option('--lease-seconds <n>', 'with --event-store: silence after which another orchestrator takes over the runs')
        .default(15)
        .env('ESPALIER_LEASE_SECONDS')
        .argParser(positive),
    )
    .addOption(
      new Option('--job-minutes <n>', 'how long an evaluation, a text or an export may hold an engine that a run waits for')
        .default(JOB_MINUTES)
        .env('ESPALIER_JOB_MINUTES')
        .argParser(positive),
    )
    .addOption(new Option('--fleet <file>', 'engines to ask a cluster for when runs wait, in YAML (docs/fleets.md)').env('ESPALIER_FLEET'))
    .addOption(
      new Option('--webhooks <file>', 'a file of programs to notify of events, in YAML (docs/monitoring.md)').env('ESPALIER_WEBHOOKS'),
    )
    .addOption(
      new Option('--log-level <level>')
        .default('info')
        .env('ESPALIER_LOG_LEVEL')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    );
  return [...bucketOptions(), ...accessOptions()].reduce((all, option) => all.addOption(option), command);
}

export function parseConfig(argv: string[]): OrchestratorConfig {
  const given = commandLine().parse(argv).opts<Omit<OrchestratorConfig, keyof GivenOptions> & Partial<GivenOptions> & BucketOptions>();
  const {
    web,
    artifacts,
    engine: namedEngines = [],
    device: devices = ['auto'],
    dataRoot = [],
    tlsCert,
    tlsKey,
    tlsClientCa,
    threads,
    engines: asked,
    s3Endpoint,
    s3Region,
    s3Cache,
    ...options
  } = given;
  const bringsNone = namedEngines.length === 0 && !options.fleet;
  const engines = asked ?? (devices.length > 1 ? devices.length : bringsNone ? 1 : 0);
  const dataFolder = resolve(options.dataFolder);
  const tls = tlsFiles(tlsCert, tlsKey, tlsClientCa);
  requireSafeAddresses({ ...options, web, namedEngines, tls });
  if (options.oidc && options.openLoopback)
    throw invalidField(
      'REQUEST_INVALID',
      '--oidc',
      'is given beside --open-loopback, which asks no caller who it is: one of them is allowed',
    );
  requireEngines(engines, options.cards, namedEngines, devices);
  const together = Math.max(options.cards, ...devices.map((device) => device.split('+').length));
  const bucket = bucketOf(artifacts, { s3Endpoint, s3Region, s3Cache }, { ...options, dataFolder });
  return {
    ...options,
    web,
    engines,
    namedEngines,
    devices,
    threads: threads ?? Math.max(1, Math.floor(availableParallelism() / (Math.max(engines, 1) * together))),
    namedThreads: threads,
    tls,
    dataFolder,
    fleet: options.fleet ? resolve(options.fleet) : undefined,
    engineHours: options.engineHours ? resolve(options.engineHours) : undefined,
    webhooks: options.webhooks ? resolve(options.webhooks) : undefined,
    oidc: options.oidc ? resolve(options.oidc) : undefined,
    dataRoots: dataRoot.map((folder) => resolve(folder)),
    artifactFolder: bucket?.cacheFolder ?? (artifacts ? resolve(artifacts) : join(dataFolder, 'artifacts')),
    bucket,
    sharesArtifacts: Boolean(artifacts),
    eventStore: options.eventStore || undefined,
  };
}

interface GivenOptions {
  web: string;
  artifacts: string;
  engine: string[];
  device: string[];
  dataRoot: string[];
  tlsCert: string;
  tlsKey: string;
  tlsClientCa: string;
  engines: number;
  threads: number;
}

/** @throws EspalierError FIELD_OUT_OF_RANGE, ENGINE_ADDRESS_INVALID */
function requireEngines(engines: number, cards: number, named: string[], devices: string[]): void {
  const refuse = (option: string, code: ErrorCode, why: string): never => {
    throw invalidField(code, option, why);
  };
  const cores = availableParallelism();
  if (devices.length !== 1 && devices.length !== engines)
    refuse('--device', 'FIELD_OUT_OF_RANGE', `${devices.length} are named for ${engines} engines: one for all is allowed, or one for each`);
  const chosen = devices.find((device) => device !== 'auto');
  if (cards > 1 && chosen !== undefined)
    refuse('--cards', 'FIELD_OUT_OF_RANGE', `is ${cards} beside --device ${chosen}: the devices are counted, or they are named`);
  if (engines > cores && devices.some((device) => ['auto', 'cpu'].includes(device)))
    refuse('--engines', 'FIELD_OUT_OF_RANGE', `${engines} are more than this machine has cores: 0 to ${cores} are allowed`);
  for (const address of named) {
    const problem = addressProblem(address, { anyPort: false });
    if (problem !== null) refuse('--engine', 'ENGINE_ADDRESS_INVALID', `"${address}" ${problem}`);
    if (named.indexOf(address) !== named.lastIndexOf(address))
      refuse('--engine', 'ENGINE_ADDRESS_INVALID', `${address} is named twice: once is allowed`);
  }
}

/** @throws EspalierError FIELD_REQUIRED */
function tlsFiles(certFile?: string, keyFile?: string, clientCaFile?: string): TlsFiles | undefined {
  if (certFile && keyFile)
    return { certFile: resolve(certFile), keyFile: resolve(keyFile), clientCaFile: clientCaFile && resolve(clientCaFile) };
  if (!certFile && !keyFile && !clientCaFile) return undefined;
  const [field, needs] = certFile
    ? (['--tls-key', 'the private key of --tls-cert'] as const)
    : (['--tls-cert', 'the certificate that the server shows'] as const);
  throw invalidField('FIELD_REQUIRED', field, `is needed: ${needs}`);
}

/** @throws EspalierError ADDRESS_INSECURE */
function requireSafeAddresses({
  listen,
  web = WEB_OFF,
  namedEngines,
  tls,
  allowInsecureRemote,
  openLoopback,
}: Pick<OrchestratorConfig, 'listen' | 'web' | 'namedEngines' | 'tls' | 'allowInsecureRemote' | 'openLoopback'>): void {
  const refuse = (option: string, address: string, why: string): never => {
    throw new EspalierError('ADDRESS_INSECURE', `${option} ${address}: ${why}`, {
      violations: [{ field: option, description: why, code: 'ADDRESS_INSECURE' }],
    });
  };
  const remote = 'is beyond this machine, and nothing is encrypted; use 127.0.0.1, or say --allow-insecure-remote';
  const plain = `${remote}, or speak TLS: --tls-cert and --tls-key, whose files \`espalier tls init\` makes`;
  const isSafe = allowInsecureRemote || tls !== undefined;
  if (!isLoopbackAddress(listen) && !isSafe) refuse('--listen', listen, plain);
  if (!isLoopbackAddress(listen) && openLoopback) refuse('--listen', listen, 'with --open-loopback every user there could do everything');
  if (web !== WEB_OFF && !isLoopbackAddress(web)) {
    if (!isSafe) refuse('--web', web, plain);
    if (openLoopback) refuse('--web', web, 'with --open-loopback every user there could do everything');
  }
  const beyond = namedEngines.find((engine) => addressProblem(engine, { anyPort: false }) === null && !isLoopbackAddress(engine));
  if (beyond !== undefined && !allowInsecureRemote) refuse('--engine', beyond, remote);
}

function hostPort(value: string): string {
  const port = Number(/^.+:(\d+)$/.exec(value)?.[1] ?? Number.NaN);
  if (!(port >= 0 && port <= 65_535)) throw new InvalidArgumentError('Write host:port, with a port from 0 to 65535.');
  return value;
}
