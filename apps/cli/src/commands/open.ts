// open: the dashboard in a browser, let in by a link that only who can read the data folder can write.
import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import { CliError, ExitCode } from '../cli-error.js';
import { dashboardLink } from '../dashboard-link.js';
import { runningServer } from '../stack.js';
import { action, examples } from './command.js';

interface OpenOptions {
  print?: boolean;
}

export function registerOpen(program: Command): void {
  const open = program
    .command('open')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; without it the list of runs')
    .summary('open the dashboard in a browser')
    .description(
      'Opens the dashboard of the server of this data folder in a browser, and prints the link. The link lets a browser in once and for ' +
        'some hours; the browser is known for 30 days then.',
    )
    .option('--print', 'only print the link');
  examples(open, ['espalier open'], ['espalier open k3f9'], ['espalier open --print', 'on a machine without a browser, behind ssh -L']);
  action<OpenOptions>(
    open,
    async (context, [name], { print }) => {
      const { dataFolder, output, connection } = context;
      const running = runningServer(dataFolder);
      if (running === null) {
        throw new CliError('SERVER_UNAVAILABLE', `no server runs on ${dataFolder}`, {
          exitCode: ExitCode.unavailable,
          hint: 'start one with: espalier up --detach',
        });
      }
      const run = name === undefined ? undefined : (await connection.call(connection.runs, connection.runs.getRun, { runId: name })).run!;
      const link = dashboardLink(dataFolder, running, run === undefined ? '/' : `/runs/${run.runId}`);
      if (link === null) {
        throw new CliError('DASHBOARD_OFF', 'this server was started with --web off', {
          exitCode: ExitCode.notAllowed,
          hint: 'espalier down, then up without it',
        });
      }
      output.result({ link, page: running.web }, () => output.line(link));
      if (print !== true && !output.json) openBrowser(link);
    },
    { localOnly: true },
  );
}

/** Where there is none, the link that was printed is all. */
function openBrowser(link: string): void {
  const isMac = process.platform === 'darwin';
  if (!isMac && !process.env['DISPLAY'] && !process.env['WAYLAND_DISPLAY']) return;
  spawn(isMac ? 'open' : 'xdg-open', [link], { detached: true, stdio: 'ignore' })
    .on('error', () => undefined)
    .unref();
}
