// The command priority, which moves a run in the queue for engines.
import type { Command } from 'commander';
import { CliError, ExitCode } from '../../cli-error.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

const PRIORITY = /^-?\d{1,3}$/;

export function registerPriority(program: Command): void {
  const priority = program
    .command('priority')
    .argument(...RUN_ARGUMENT)
    .argument('<priority>', 'from -100 to 100; a run is launched with 0')
    .summary('let a run wait before or behind others')
    .description(
      'Gives a run another priority. Runs of a higher one get an engine first, of all callers; a run that has an engine keeps it. ' +
        'Priorities above 0 are for admins. The history keeps who changed it and when (docs/people.md).',
    )
    .allowUnknownOption(); // so that -5 is not taken for an option
  examples(
    priority,
    ['espalier priority k3f9 -10', 'it lets all others go first'],
    ['espalier priority k3f9 50', 'the next free engine is for it'],
  );
  action(priority, async ({ connection, output }, [runId, text]: [string, string]) => {
    const { run } = await connection.call(connection.runs, connection.runs.prioritizeRun, { runId, priority: priorityOf(text) });
    output.result(run, () => output.text(`${run.runId} has the priority ${run.priority}`));
  });
}

function priorityOf(text: string): number {
  if (!PRIORITY.test(text))
    throw new CliError('OPTION_INVALID', `priority: ${JSON.stringify(text)}: a whole number from -100 to 100 is needed`, {
      field: 'priority',
      exitCode: ExitCode.usage,
    });
  return Number(text);
}
