// Declares commands: commander parses the arguments, and the action gets a context and returns an exit code (0 if it returns nothing).
import { Option, type Command } from 'commander';
import { CliError, ExitCode } from '../cli-error.js';
import { announcement } from '../connection/server-address.js';
import { Context, type GlobalOptions } from '../command-context.js';
import { stoppedWords } from './server/stopped-message.js';

const GATHERING = new Set(['--status', '--tag', '--where', '--engine', '--device', '--devices', '--stop', '--data-root']);
/** The commands and options that accept several texts. In other commands, --data is one path. */
const GATHERING_TEXT = { commands: ['launch', 'fork'], options: ['--data', '--validation'] };

// A command that always succeeds need not return an exit code.
// oxlint-disable-next-line typescript/no-invalid-void-type
export type Action<Options, Names> = (context: Context, names: Names, options: Options) => Promise<number | void>;

export const RUN_ARGUMENT = ['<run>', 'its id, the first 4 or more characters of it, or its name'] as const;

/** The command that ran, its exit code and whether that is a verdict, which main.ts reads. */
export const outcome: { exitCode: number; command: Command | undefined; isVerdict: boolean } = {
  exitCode: 0,
  command: undefined,
  isVerdict: false,
};

/** The options that may stand before or after any command. */
export function globalOptions(): Option[] {
  return [
    new Option(
      '--server <host:port>',
      'the server, with TLS https://host:port (else ESPALIER_SERVER, else DATA-FOLDER/espalier.json, else 127.0.0.1:7433 where no data ' +
        'folder is named)',
    ),
    new Option('--tls-ca <file>', 'the authority of a server with TLS (else ESPALIER_TLS_CA, else those that the system trusts)'),
    new Option(
      '--token-file <file>',
      'a file with the token to show (else ESPALIER_TOKEN_FILE, ESPALIER_TOKEN, or the data folder has it)',
    ),
    new Option('--data-folder <folder>', 'of the local server (else ESPALIER_DATA_FOLDER, else ./.espalier)'),
    new Option('--json', 'JSON on standard output, errors as JSON on standard error'),
    new Option('--no-color', 'no colours (also NO_COLOR)'),
  ];
}

export interface ActionLimits {
  /** The command works in the data folder of this machine, and never asks a server elsewhere. */
  localOnly?: boolean;
  /** The exit code says what the command found, so a reader that closes the output early does not end it. */
  isVerdict?: boolean;
}

/** @typeParam Names the texts beside the options: [string] for a command with one required argument, which commander makes sure of */
export function action<Options = object, Names extends string[] = string[]>(
  command: Command,
  act: Action<Options, Names>,
  limits: ActionLimits = {},
): Command {
  const { localOnly = false, isVerdict = false } = limits;
  // Each command has these options itself, hidden from its help, because quickstart gives --json another meaning.
  for (const option of globalOptions()) {
    if (!command.options.some((own) => own.long === option.long)) command.addOption(option.hideHelp());
  }
  refuseRepeated(command);
  return command.action(async (...parameters: unknown[]) => {
    const invoked = parameters.at(-1) as Command;
    Object.assign(outcome, { command: invoked, isVerdict });
    const names = parameters
      .slice(0, -2)
      .flat()
      .filter((name) => name !== undefined) as Names;
    const options = givenOptions(invoked) as Options & GlobalOptions;
    if (localOnly && options.server !== undefined) throw notWithServer(invoked);
    const context = new Context(options);
    if (localOnly) announcement(context.dataFolder); // throws if the data folder is another user's
    context.stopOnInterrupt();
    try {
      outcome.exitCode = (await act(context, names, options)) ?? 0;
    } catch (error) {
      const words = stoppedWords(invoked.name());
      if (context.signal.aborted && words !== '' && !context.output.json) context.output.line(words);
      context.signal.throwIfAborted(); // after a stop, the command's own error does not matter
      throw error;
    } finally {
      context.close();
    }
  });
}

function notWithServer(command: Command): CliError {
  const name = [command.parent?.parent ? `${command.parent.name()} ` : '', command.name()].join('');
  return new CliError('OPTIONS_CONFLICT', `--server is not for ${name}, which works on the data folder of a server on this machine`, {
    field: '--server',
    exitCode: ExitCode.usage,
    hint: 'name that folder with --data-folder',
  });
}

function gathers(command: Command, option: string): boolean {
  return GATHERING.has(option) || (GATHERING_TEXT.commands.includes(command.name()) && GATHERING_TEXT.options.includes(option));
}

/**
 * Refuses an option that is given twice, because its last value would silently count. Options that collect lists (--status, --engine) may
 * be repeated.
 */
function refuseRepeated(command: Command): void {
  for (const option of command.options) {
    if (!(option.required || option.optional) || gathers(command, option.long ?? '')) continue;
    let given = 0;
    command.on(`option:${option.name()}`, () => {
      given += 1;
      if (given === 1) return;
      throw new CliError('OPTION_REPEATED', `${option.long} is given ${given} times; once is allowed`, {
        field: option.long ?? option.name(),
        exitCode: ExitCode.usage,
      });
    });
  }
}

/** Merges the command's own options over the options before its name. A default never replaces a given value. */
function givenOptions(command: Command): Record<string, unknown> {
  const chain: Command[] = [];
  for (let next: Command | null = command; next !== null; next = next.parent) chain.unshift(next);
  const given: Record<string, unknown> = {};
  for (const one of chain) {
    for (const [name, value] of Object.entries(one.opts())) {
      const isDefault = one.getOptionValueSource(name) === 'default';
      if (value !== undefined && !(isDefault && Object.hasOwn(given, name))) given[name] = value;
    }
  }
  return given;
}

export function examples(command: Command, ...lines: [string, string?][]): Command {
  const shown = lines.map(([example, note]) => [brokenAtOptions(example), note] as const);
  const width = Math.max(...shown.filter(([, note]) => note !== undefined).map(([example]) => example.length));
  const fits = shown.every(([, note]) => note === undefined || width + note.length + 8 <= HELP_COLUMNS);
  const text = shown.map(([example, note]) => {
    if (note === undefined) return `  $ ${example}`;
    return fits ? `  $ ${example.padEnd(width)}  # ${note}` : `  $ ${example}\n      # ${note}`;
  });
  return command.addHelpText('after', `\nExamples:\n${text.join('\n')}`);
}

/** The columns of a narrow terminal. */
const HELP_COLUMNS = 80;

/** Breaks a long command into lines, as shells accept them. */
function brokenAtOptions(example: string): string {
  const lines = [''];
  for (const part of example.split(/ (?=--)/)) {
    const longer = `${lines.at(-1)}${lines.at(-1) === '' ? '' : ' '}${part}`;
    if (longer.length <= HELP_COLUMNS - 8) lines[lines.length - 1] = longer;
    else lines.push(part);
  }
  return lines.join(' \\\n      ');
}
