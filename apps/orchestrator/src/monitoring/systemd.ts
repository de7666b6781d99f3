// Tells systemd that the server is ready, and goes on telling it that the server still works. systemd starts a silent server again
// (deploy/systemd). A program of systemd passes the messages on, because Node can't write to the kind of socket that systemd listens on.
import { spawn } from 'node:child_process';
import type { Logger } from 'pino';

/** Does nothing where systemd did not start this process, or its unit asks for no messages. */
export function notifySystemd(log: Logger, environment: NodeJS.ProcessEnv = process.env): void {
  if (!environment['NOTIFY_SOCKET']) return;
  const notify = (message: string): void => {
    const child = spawn('systemd-notify', [message], { stdio: 'ignore', env: environment });
    child.once('error', (error) => log.warn({ problem: error.message }, 'systemd can not be told that this server works'));
  };
  notify('READY=1');
  const silenceMs = Number(environment['WATCHDOG_USEC'] ?? 0) / 1_000;
  // Two messages may be late or lost before systemd takes the server for silent.
  if (silenceMs > 0) setInterval(() => notify('WATCHDOG=1'), silenceMs / 3).unref();
}
