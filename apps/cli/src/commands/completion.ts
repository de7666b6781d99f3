// Completes commands, options and runs when the user presses Tab. The shell calls `espalier complete` with the words typed so far.
import type { Command, Option } from 'commander';
import { EXPORT_FORMAT_NAMES } from '#comparison';
import { settingsTable, v1 } from '#protocol';
import { invalidOption } from '../cli-error.js';
import { Connection } from '../connection/connection.js';
import { findServer } from '../connection/server-address.js';
import { STATUSES } from '../options/parse.js';
import { action, examples } from './command.js';
import { SOURCES } from './server/logs.js';

const SCRIPTS: Record<string, string> = {
  bash: `_espalier() {
  local line IFS=$'\\n'
  COMPREPLY=()
  for line in $(espalier complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
    COMPREPLY+=("$(printf '%q' "$line")")
  done
}
complete -o default -F _espalier espalier`,
  zsh: `#compdef espalier
_espalier() {
  local -a found
  found=("\${(@f)$(espalier complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _espalier espalier`,
  fish: `complete -c espalier -a '(espalier complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'`,
};
/** A Tab must not wait long for a server that does not answer. */
const NAMES_TIMEOUT_MS = 1_500;
const MOST_RUNS = 100;
const RUN_ARGUMENTS = ['run', 'runs', 'left', 'right'];
const STUDY_ARGUMENT = 'study';
const RUN_OPTIONS = ['--parent'];
const VALUES: Record<string, readonly string[]> = {
  ...Object.fromEntries(settingsTable().map(({ flag, allowed }) => [flag, allowed])),
  '--dtype': ['bf16', 'f16', 'f32', 'q8_0', 'q4_k_m', 'q5_k_m', 'q6_k'], // an export offers more types than a run
  '--status': Object.keys(STATUSES),
  '--source': Object.keys(SOURCES),
  '--format': EXPORT_FORMAT_NAMES,
  '--form': ['compacted', 'padded', 'masked'],
  '--export': ['csv', 'jsonl', 'parquet', 'tensorboard'],
};

export function registerCompletion(program: Command): void {
  const completion = program
    .command('completion')
    .argument('<shell>', Object.keys(SCRIPTS).join(', '))
    .summary('completion of commands, options and runs for your shell')
    .description(
      'Prints a script that lets the shell complete commands, options, and the ids and names of runs. `espalier` must be on the PATH.',
    );
  examples(
    completion,
    ['source <(espalier completion bash)', 'in ~/.bashrc'],
    ['source <(espalier completion zsh)', 'in ~/.zshrc, after compinit'],
    ['espalier completion fish > ~/.config/fish/completions/espalier.fish'],
  );
  action(completion, async ({ output }, [shell]: [string]) => {
    const [, script] = Object.entries(SCRIPTS).find(([name]) => name === shell) ?? [];
    if (script === undefined) throw invalidOption('shell', shell, `${Object.keys(SCRIPTS).join(', ')} are allowed`);
    for (const line of script.split('\n')) output.line(line);
  });

  const complete = program.command('complete', { hidden: true }).argument('[words...]').allowUnknownOption();
  action(complete, async ({ output }, words) => {
    for (const candidate of await candidates(program, words, { runs: runsOf, studies: studiesOf })) output.line(candidate);
  });
}

/** Finds names on the server that the words of the command line name. */
export interface NamesOnServer {
  runs: (words: string[]) => Promise<string[]>;
  studies: (words: string[]) => Promise<string[]>;
}

/** Returns the completions of the last word. */
export async function candidates(program: Command, words: string[], { runs, studies }: NamesOnServer): Promise<string[]> {
  const last = words.at(-1) ?? '';
  let command = program;
  let option: Option | undefined; // an option that needs a value
  let taken = 0;
  for (const word of words.slice(0, -1)) {
    if (option !== undefined) option = undefined;
    else if (word.startsWith('-')) option = word.includes('=') ? undefined : takesValue(command, word);
    else {
      const next = taken === 0 ? command.commands.find((one) => one.name() === word || one.aliases().includes(word)) : undefined;
      if (next === undefined) taken += 1;
      else command = next;
    }
  }
  const beginning = (all: readonly string[], before = '') =>
    [...new Set(all.filter((one) => one.startsWith(last.slice(before.length))))].map((one) => before + one);
  if (option !== undefined) {
    if (RUN_OPTIONS.includes(option.long ?? '')) return beginning(await runs(words));
    return beginning(valuesOf(command, option), last.slice(0, last.lastIndexOf(',') + 1));
  }
  if (last.startsWith('-')) return beginning([...optionsOf(command), '--help']);
  if (command.commands.length > 0) return beginning(command.commands.filter((one) => one.name() !== 'complete').map((one) => one.name()));
  const all = command.registeredArguments;
  const further = all.at(-1)?.variadic === true ? all.at(-1) : undefined;
  const argument = (all[taken] ?? further)?.name() ?? '';
  if (argument === 'shell') return beginning(Object.keys(SCRIPTS));
  if (argument === STUDY_ARGUMENT) return beginning(await studies(words));
  return RUN_ARGUMENTS.includes(argument) ? beginning(await runs(words)) : [];
}

/** Returns the allowed words of an option that takes one of a few words. */
function valuesOf(command: Command, { long, argChoices }: Option): readonly string[] {
  if (long === '--export' && command.name() !== 'metrics') return [];
  return argChoices ?? VALUES[long ?? ''] ?? [];
}

/** Returns the options that help shows. The options of every command are not repeated here. */
function optionsOf(command: Command): string[] {
  const own = command.options.flatMap(({ long, hidden }) => (long == null || hidden ? [] : [long]));
  return command.parent === null ? own : [...own, ...optionsOf(command.parent).filter((name) => name !== '--version')];
}

function takesValue(command: Command, word: string): Option | undefined {
  for (let one: Command | null = command; one !== null; one = one.parent) {
    const found = one.options.find(({ long, short }) => long === word || short === word);
    if (found !== undefined) return found.required || found.optional ? found : undefined;
  }
  return undefined;
}

/** Returns the ids and names of the newest runs. */
const runsOf = (words: string[]): Promise<string[]> =>
  asked(words, async (connection) => {
    const request = v1.ListRunsRequest.fromPartial({ pageSize: MOST_RUNS, orderBy: 'launched_at desc' });
    const { runs } = await connection.call(connection.runs, connection.runs.listRuns, request, NAMES_TIMEOUT_MS);
    return runs.flatMap(({ runId, name }) => (name === '' ? [runId] : [runId, name]));
  });

const studiesOf = (words: string[]): Promise<string[]> =>
  asked(words, async (connection) => {
    const { studies } = await connection.call(connection.studies, connection.studies.listStudies, {}, NAMES_TIMEOUT_MS);
    return studies.flatMap(({ studyId, name }) => [name, studyId]);
  });

/** Asks the server that the words of the command line name. */
async function asked(words: string[], ask: (connection: Connection) => Promise<string[]>): Promise<string[]> {
  const valueOf = (name: string) => (words.includes(name) ? words[words.indexOf(name) + 1] : undefined);
  const [server, dataFolder, tlsCa, tokenFile] = ['--server', '--data-folder', '--tls-ca', '--token-file'].map(valueOf);
  try {
    Connection.onAnswer = () => undefined; // a Tab shows no warnings
    const connection = new Connection(findServer({ server, dataFolder, tlsCa, tokenFile }));
    try {
      return await ask(connection);
    } finally {
      connection.close();
    }
  } catch {
    return []; // offers no completions, because a Tab can't report errors
  }
}
