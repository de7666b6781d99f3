import { parseArgs } from 'node:util';
import { keepForOwner } from '#files';
import { startServer, type RunningServer, type ServerOptions } from './server/server.js';
import { StoreError, toStoreError } from './server/store/store-error.js';

/**
 * Runs the embedded event store as a process of its own. It writes one line of JSON to stdout when it is ready or could not start:
 * {"ready":true,"port":N,"pid":N} or {"ready":false,"code":"...","message":"..."}.
 */
const USAGE = `Usage: server-main --folder DIR [options]
  --folder DIR               where the events are kept; one server per folder
  --host HOST                where to listen (127.0.0.1)
  --port PORT                2113; 0 picks a free one
  --tls-cert FILE            PEM certificate; without it only processes of the same user are served
  --tls-key FILE             its key; with TLS callers log in: as admin with the password in ESPALIER_EVENT_STORE_ADMIN_PASSWORD, or as ops
                             with that in ESPALIER_EVENT_STORE_OPS_PASSWORD, which may be absent
  --max-database-bytes N     refuse appends beyond this size, as on a full disk (no limit)
  --exit-with-stdin          stop when stdin closes, so that the server never outlives the process that started it
`;

function readOptions(): (ServerOptions & { exitWithStdin: boolean }) | undefined {
  const { values } = parseArgs({
    options: {
      folder: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '2113' },
      'tls-cert': { type: 'string' },
      'tls-key': { type: 'string' },
      'max-database-bytes': { type: 'string' },
      'exit-with-stdin': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { 'tls-cert': certFile, 'tls-key': keyFile, 'max-database-bytes': maxDatabaseBytes } = values;
  if (values.help || !values.folder || Boolean(certFile) !== Boolean(keyFile)) return undefined;
  return {
    folder: values.folder,
    host: values.host,
    port: Number(values.port),
    ...(maxDatabaseBytes === undefined ? {} : { maxDatabaseBytes: Number(maxDatabaseBytes) }),
    exitWithStdin: values['exit-with-stdin'],
    ...(certFile && keyFile ? { tls: { certFile, keyFile, passwords: passwords() } } : {}),
  };
}

/** Reads the passwords from the environment, because every user of the machine can read a process's arguments. */
function passwords(): { admin: string; ops: string | undefined } {
  const { ESPALIER_EVENT_STORE_ADMIN_PASSWORD: admin, ESPALIER_EVENT_STORE_OPS_PASSWORD: ops } = process.env;
  if (!admin) throw new StoreError('STORE_TLS_UNUSABLE', 'with TLS, ESPALIER_EVENT_STORE_ADMIN_PASSWORD has to hold the password of admin');
  return { admin, ops: ops === '' ? undefined : ops };
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
    // Ctrl-C reaches the whole process group, so it is ignored here: the parent decides when the store stops.
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
  // A log file without room, or a parent that stops reading, must not end the store.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const options = readOptions();
  if (!options) {
    process.stderr.write(USAGE);
    process.exitCode = 2;
    return;
  }
  const server = await startServer({ ...options, onLogLost: () => void endWithoutLog() });
  const endWithoutLog = async (): Promise<void> => {
    process.stderr.write('the write-ahead log was removed or replaced: all events are in the database, and the event store starts again\n');
    await server.stop().catch(() => undefined);
    process.exit(1); // its parent starts it again
  };
  stopOnRequest(server, options.exitWithStdin);
  announce({ ready: true, port: server.port, pid: process.pid });
}

main().catch((error: unknown) => {
  const { code, message } = toStoreError(error);
  announce({ ready: false, code, message });
  process.exitCode = 1;
});
