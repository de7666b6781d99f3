import type { Command } from 'commander';
import { CliError, ExitCode } from '../cli-error.js';
import { action } from './command.js';

/** Registers `espalier help [command]`. It prints the same as --help; with --json it prints the help for programs. */
export function registerHelp(program: Command): void {
  program.helpCommand(false);
  const help = program
    .command('help')
    .argument('[command...]', 'which one')
    .summary('how to use a command')
    .description('How to use a command.');
  action(help, async ({ output }, names) => {
    let command = program;
    for (const name of names) {
      const next = command.commands.find((one) => one.name() === name || one.aliases().includes(name));
      if (next === undefined) {
        throw new CliError('COMMAND_UNKNOWN', `there is no command ${JSON.stringify(name)}`, {
          exitCode: ExitCode.usage,
          hint: 'all of them: espalier help',
        });
      }
      command = next;
    }
    output.result(described(command), () => command.outputHelp());
  });
}

function described(command: Command): object {
  const helper = command.createHelp();
  return {
    name: command.name(),
    summary: command.summary(),
    description: command.description(),
    usage: helper.commandUsage(command),
    arguments: helper.visibleArguments(command).map((one) => ({ name: one.name(), description: one.description, required: one.required })),
    options: helper.visibleOptions(command).map(({ flags, description, mandatory }) => ({ flags, description, required: mandatory })),
    commands: helper.visibleCommands(command).map(described),
  };
}
