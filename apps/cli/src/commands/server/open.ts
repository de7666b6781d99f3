// The command open, which opens the dashboard in a browser. It uses a link that only a reader of the data folder can make.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { COOKIE_KEY_FILE, DATA_FOLDER_ID, renewSecretFile, writeOwnFile } from '#files';
import { CliError, ExitCode } from '../../cli-error.js';
import { dashboardLink } from '../../local-server/dashboard-link.js';
import { runningServer } from '../../local-server/stack.js';
import { action, examples } from '../command.js';

interface OpenOptions {
  print?: boolean;
  forgetBrowsers?: boolean;
}

/** The page that leads a browser to the link. */
const LINK_PAGE = 'open.html';

export function registerOpen(program: Command): void {
  const open = program
    .command('open')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; without it the list of runs')
    .summary('open the dashboard in a browser')
    .description(
      'Opens the dashboard of the server of this data folder in a browser, and prints the link. The link lets a browser in once and for ' +
        'some hours; the browser is known for 30 days then.',
    )
    .option('--print', 'only print the link')
    .option('--forget-browsers', 'first forget every browser that was let in: each needs a new link');
  examples(
    open,
    ['espalier open'],
    ['espalier open k3f9'],
    ['espalier open --print', 'on a machine without a browser, behind ssh -L'],
    ['espalier open --print --forget-browsers', 'after a browser was lost'],
  );
  action<OpenOptions>(
    open,
    async (context, [name], { print, forgetBrowsers }) => {
      const { dataFolder, output, connection } = context;
      if (forgetBrowsers === true) forgetAll(dataFolder);
      const running = runningServer(dataFolder);
      if (running === null && forgetBrowsers === true) {
        output.result({ forgotten: true }, () => output.line('every browser is forgotten'));
        return;
      }
      if (running === null) {
        throw new CliError('SERVER_UNAVAILABLE', `no server runs on ${dataFolder}`, {
          exitCode: ExitCode.unavailable,
          hint: 'start one with: espalier up --detach',
        });
      }
      const run = name === undefined ? undefined : (await connection.call(connection.runs, connection.runs.getRun, { runId: name })).run;
      const link = dashboardLink(dataFolder, running, run === undefined ? '/' : `/runs/${run.runId}`);
      if (link === null) {
        throw new CliError('DASHBOARD_OFF', 'this server was started with --web off', {
          exitCode: ExitCode.notAllowed,
          hint: 'espalier down, then up without it',
        });
      }
      output.result({ link, page: running.web }, () => output.line(link));
      if (print !== true && !output.json) openBrowser(dataFolder, link);
    },
    { localOnly: true },
  );
}

/**
 * Logs out all browsers by a new secret. The server reads the secret at each request, so it needs no restart, and need not even run.
 */
function forgetAll(dataFolder: string): void {
  if (existsSync(join(dataFolder, DATA_FOLDER_ID))) renewSecretFile(join(dataFolder, COOKIE_KEY_FILE));
}

/**
 * Opens the link in a browser; without a screen, the printed link is enough. Every user of the machine can read a process's arguments, so
 * the browser gets the name of a page that only this user can read.
 */
function openBrowser(dataFolder: string, link: string): void {
  const isMac = process.platform === 'darwin';
  if (!isMac && !process.env['DISPLAY'] && !process.env['WAYLAND_DISPLAY']) return;
  const page = join(dataFolder, LINK_PAGE);
  const target = link.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  writeOwnFile(page, `<!doctype html><meta http-equiv="refresh" content="0; url=${target}"><title>Espalier</title>\n`);
  spawn(isMac ? 'open' : 'xdg-open', [pathToFileURL(page).href], { detached: true, stdio: 'ignore' })
    .on('error', () => undefined)
    .unref();
}
