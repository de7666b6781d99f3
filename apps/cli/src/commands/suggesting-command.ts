// A command that suggests the option or the command that the user probably meant, if the given one does not exist.
import { Command, type HelpContext } from 'commander';

const MOST_SUGGESTIONS = 3;

/** The commands that do what these words say. */
const DONE_BY: Record<string, string> = {
  rewind: 'resume RUN --from-teacher N',
  stop: 'pause RUN, which a resume ends, or cancel RUN',
  webhooks: 'up --webhooks FILE',
};

/** Commander suggests options with a similar spelling. This class also suggests options that share words: --sparsity, --target-sparsity. */
export class SuggestingCommand extends Command {
  override createCommand(name?: string): SuggestingCommand {
    return new SuggestingCommand(name);
  }

  /** Commander calls this method for an unknown option. Commander's type declarations do not mention it. */
  unknownOption(flag: string): void {
    const meant = flag.startsWith('--') ? optionsWithTheWordsOf(flag, this) : [];
    const commander = Command.prototype as unknown as { unknownOption(flag: string): void };
    if (meant.length === 0 || meant.length > MOST_SUGGESTIONS) return commander.unknownOption.call(this, flag);
    const choice = meant.length === 1 ? meant.join('') : `one of ${meant.join(', ')}`;
    this.error(`error: unknown option '${flag}'\n(Did you mean ${choice}?)`, { code: 'commander.unknownOption' });
  }

  /** Commander would show the help of all commands for `lanch --help`, as if the word were not there. */
  override outputHelp(context?: HelpContext | ((text: string) => string)): void {
    const [word = 'help'] = this.args;
    const known = ['help', ...this.commands.flatMap((one) => [one.name(), ...one.aliases()])];
    if (this.commands.length > 0 && !word.startsWith('-') && !known.includes(word)) this.unknownCommand();
    super.outputHelp(context as HelpContext);
  }

  /** Commander calls this method for an unknown command, as it calls the other. */
  unknownCommand(): void {
    const [word = ''] = this.args;
    const commander = Command.prototype as unknown as { unknownCommand(): void };
    if (!Object.hasOwn(DONE_BY, word)) return commander.unknownCommand.call(this);
    this.error(`error: unknown command '${word}'\n(Did you mean ${DONE_BY[word]}?)`, { code: 'commander.unknownCommand' });
  }
}

/** Returns the options whose words include all words of the flag, or else the options whose words the flag includes. */
function optionsWithTheWordsOf(flag: string, command: Command): string[] {
  const given = wordsOf(flag);
  const known = command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long }) => (long ? [long] : []));
  const longer = known.filter((option) => given.every((word) => wordsOf(option).includes(word)));
  return longer.length > 0 ? longer : known.filter((option) => wordsOf(option).every((word) => given.includes(word)));
}

/** Returns the words of an option, each without the s of a plural. */
function wordsOf(flag: string): string[] {
  return flag
    .slice('--'.length)
    .split('-')
    .map((word) => word.replace(/s$/, ''));
}
