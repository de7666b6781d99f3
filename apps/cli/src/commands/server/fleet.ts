// The fleet of the server: its jobs, and the commands by which an admin bounds and ends them.
import type { Command } from 'commander';
import type { v1 } from '#protocol';
import { CliError } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { wholeNumber } from '../../options/parse.js';
import { action, examples } from '../command.js';
import { printFleet } from './engines.js';

export function registerFleet(program: Command): void {
  const fleet = program
    .command('fleet')
    .summary("show the fleet's jobs, set how many there may be, and end them")
    .description(
      'Shows the jobs of the fleet (espalier up --fleet), why one waits or has ended, and the jobs that take its places though they are ' +
        'not its own. Its subcommands are for admins. The file of the fleet is read again by itself when it has changed.',
    );
  const show = fleet.command('show', { isDefault: true }).summary('show the fleet').description("Shows the fleet's jobs and their state.");
  examples(show, ['espalier fleet'], ['espalier fleet --json | jq ".jobs[].id"']);
  action(show, async (context) => print(context, await theFleet(context)));
  registerScale(fleet);
  registerDrain(fleet);
  registerCancel(fleet);
}

async function theFleet({ connection }: Context): Promise<v1.Fleet> {
  const { fleet } = await connection.call(connection.engines, connection.engines.listEngines, {});
  if (fleet !== undefined) return fleet;
  throw new CliError('FLEET_ABSENT', 'the server has no fleet: espalier up --fleet FILE starts one with it');
}

function print({ output }: Context, fleet: v1.Fleet): void {
  output.result(fleet, () => printFleet({ output }, fleet));
}

function registerScale(fleet: Command): void {
  const scale = fleet
    .command('scale')
    .argument('<n>', 'the most engines, 0 to 64', wholeNumber)
    .summary('set the most engines, and end a drain')
    .description(
      'Sets the most engines in place of max_engines of the file, also for later starts of the server, until the file has another ' +
        'number. Jobs that wait beyond that are cancelled. Engines that work go on, and end when they are idle.',
    );
  examples(scale, ['espalier fleet scale 8']);
  action<object, [string]>(scale, (context, [n]) => scaleTo(context, { maxEngines: Number(n), drain: false }));
}

function registerDrain(fleet: Command): void {
  const drain = fleet
    .command('drain')
    .summary('ask for no more jobs, and end each engine once its work is done')
    .description(
      'Asks for no more jobs, and cancels those that wait. Engines that work take no more work and end after it, which may take as long ' +
        'as a run; espalier fleet cancel ends one at its next step. Runs wait until: espalier fleet scale N.',
    );
  examples(drain, ['espalier fleet drain']);
  action(drain, (context) => scaleTo(context, { maxEngines: 0, drain: true }));
}

async function scaleTo(context: Context, wanted: v1.ScaleFleetRequest): Promise<void> {
  const { connection } = context;
  const { fleet } = await connection.call(connection.engines, connection.engines.scaleFleet, wanted);
  print(context, fleet!);
}

function registerCancel(fleet: Command): void {
  const cancel = fleet
    .command('cancel')
    .argument('<jobs...>', 'ids of jobs, as espalier fleet shows them')
    .summary('end jobs of the fleet, and jobs that take its places')
    .description('Ends jobs. An engine that trains ends its segment and hands it in, and its run goes on in the next job.');
  examples(cancel, ['espalier fleet cancel 4711']);
  action(cancel, async ({ connection, output }, ids) => {
    await connection.call(connection.engines, connection.engines.cancelFleetJobs, { ids });
    output.result({ cancelled: ids }, () => output.text(`cancelled: ${ids.join(', ')}`));
  });
}
