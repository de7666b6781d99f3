import { parseArgs } from 'node:util';
import { keepForOwner } from '#files';
import { startServer, type RunningServer, type ServerOptions } from './server/server.js';
import { toStoreError } from './server/store-error.js';

/**
 * The embedded event store as a process of its own. Writes one line of JSON to stdout when it is ready or could not
 * start: {"ready":true,"port":N,"pid":N} or {"ready":false,"code":"...","message":"..."}.
 */
const USAGE = `Usage: server-main --folder DIR [options]
  --folder DIR               where the events are kept; one server per folder
  --host HOST                where to listen (127.0.0.1)
  --port PORT                2113; 0 picks a free one
  --advertise-host HOST      name that clients are told, when they discover a cluster (the host)
  --tls-cert FILE            PEM certificate; without it only processes of the same user are served; with --tls-key turns TLS
                             and users on: admin and ops, password "changeit"
  --tls-key FILE             unless ESPALIER_EVENT_STORE_ADMIN_PASSWORD and ..._OPS_PASSWORD say otherwise
  --max-append-bytes N       largest append (67108864)
  --max-append-event-bytes N largest single event (16777216)
  --max-database-bytes N     refuse appends beyond this size, as on a full disk (no limit)
  --exit-with-stdin          stop when stdin closes, so that the server never outlives the process that started it
`;

function readOptions(): (ServerOptions & { exitWithStdin: boolean }) | undefined {
  const { values } = parseArgs({
    options: {
      folder: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '2113' },
      'advertise-host': { type: 'string' },
      'tls-cert': { type: 'string' },
      'tls-key': { type: 'string' },
      'max-append-bytes': { type: 'string' },
      'max-append-event-bytes': { type: 'string' },
      'max-database-bytes': { type: 'string' },
      'exit-with-stdin': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { 'tls-cert': certFile, 'tls-key': keyFile } = values;
  if (values.help || !values.folder || Boolean(certFile) !== Boolean(keyFile)) return undefined;
  const limits = {
    ...numberOption('maxAppendBytes', values['max-append-bytes']),
    ...numberOption('maxEventBytes', values['max-append-event-bytes']),
  };
  return {
    folder: values.folder,
    host: values.host,
    port: Number(values.port),
    advertisedHost: values['advertise-host'],
    limits,
    ...numberOption('maxDatabaseBytes', values['max-database-bytes']),
    exitWithStdin: values['exit-with-stdin'],
    ...(certFile && keyFile ? { tls: { certFile, keyFile, ...passwords() } } : {}),
  };
}

/** From the environment, because arguments can be read by every user of the machine. */
function passwords() {
  return {
    adminPassword: process.env['ESPALIER_EVENT_STORE_ADMIN_PASSWORD'],
    opsPassword: process.env['ESPALIER_EVENT_STORE_OPS_PASSWORD'],
  };
}

function numberOption(name: string, text: string | undefined): Record<string, number> {
  return text === undefined ? {} : { [name]: Number(text) };
}

function stopOnRequest(server: RunningServer, exitWithStdin: boolean): void {
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= server.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`stopping failed: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  if (exitWithStdin) {
    // Ctrl-C reaches the whole process group; the parent decides when its store may go.
    process.on('SIGINT', () => {});
    process.stdin.on('end', stop).on('close', stop).on('error', stop).resume();
  } else {
    process.on('SIGINT', stop);
  }
}

function announce(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(): Promise<void> {
  keepForOwner();
  // A log file without room, or a parent that reads no more, must not end the store.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const options = readOptions();
  if (!options) {
    process.stderr.write(USAGE);
    process.exitCode = 2;
    return;
  }
  const server = await startServer(options);
  stopOnRequest(server, options.exitWithStdin);
  announce({ ready: true, port: server.port, pid: process.pid });
}

main().catch((error: unknown) => {
  const { code, message } = toStoreError(error);
  announce({ ready: false, code, message });
  process.exitCode = 1;
});
