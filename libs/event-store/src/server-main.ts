#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { startServer, type RunningServer } from './server/server.js';
import { toStoreError } from './server/store-error.js';

/**
 * The embedded event store as a process of its own. Writes one line of JSON to stdout when it is ready or could not
 * start: {"ready":true,"port":N,"pid":N} or {"ready":false,"code":"...","message":"..."}.
 */
const USAGE = `Usage: server-main --folder DIR [--host 127.0.0.1] [--port 2113]
  --folder DIR              where the events are kept; one server per folder
  --host HOST --port PORT   where to listen; port 0 picks a free one
  --exit-with-stdin         stop when stdin closes, so that the server never outlives the process that started it
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      folder: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '2113' },
      'exit-with-stdin': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || !values.folder) {
    process.stderr.write(USAGE);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const server = await startServer({ folder: values.folder, host: values.host, port: Number(values.port) });
  stopOnRequest(server, values['exit-with-stdin']);
  announce({ ready: true, port: server.port, pid: process.pid });
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

main().catch((error: unknown) => {
  const { code, message } = toStoreError(error);
  announce({ ready: false, code, message });
  process.exitCode = 1;
});
