import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { dataSource, type DataChoice } from '#run-files';
import { CliError, ExitCode } from '../../cli-error.js';
import { HubFiles } from '../../options/hub-files.js';
import { addDataOptions, dataChoice } from '../../options/data-options.js';
import { addLabelOptions, labelsOf, type LabelOptions } from '../../options/label-options.js';
import { absolutePath, requestId, wholeNumber } from '../../options/parse.js';
import { runFileFor, type RunFile } from '../../options/run-file.js';
import { addForkOptions, settingsOf } from '../../options/settings-options.js';
import { printWarnings, warnOf } from '../../output/warnings.js';
import { action, examples } from '../command.js';
import { endOfLaunch, LAUNCH_TIMEOUT_MS, printLaunched } from './launch.js';
import { lostTeachersNote } from './lost-teachers.js';

export interface StartingPoint {
  fromTeacher?: number;
  last?: boolean;
  fromState?: string;
}
interface ForkOptions extends LabelOptions, StartingPoint, DataChoice {
  config?: string;
  requestId?: string;
  watch?: boolean;
}
type From = v1.ForkRunRequest['from'];

/** Returns the starting point of the options; undefined when none is given. At most one of the three may be given. */
export function startingPoint({ fromTeacher, last, fromState }: StartingPoint): From {
  const given: From[] = [
    ...(fromTeacher === undefined ? [] : [{ $case: 'teacherMark' as const, value: fromTeacher }]),
    ...(last === true ? [{ $case: 'lastState' as const, value: true }] : []),
    ...(fromState === undefined ? [] : [{ $case: 'stateDigest' as const, value: fromState }]),
  ];
  if (given.length > 1) {
    throw new CliError('OPTIONS_CONFLICT', 'only one of --from-teacher, --from-state and --last is allowed', { exitCode: ExitCode.usage });
  }
  return given[0];
}

/** The options that name the start of a fork. */
export function addStartOptions(command: Command): Command {
  return command
    .option('--from-teacher <mark>', 'fork from the teacher with this number, see: espalier teachers RUN', wholeNumber)
    .option('--last', 'fork from the last recorded state')
    .option('--from-state <digest>', 'fork from the teacher with this state digest (4 or more digits of it), abandoned branches included');
}

/** @param hint what else the user may have meant. @throws CliError OPTION_REQUIRED */
export function startOfFork(parentRunId: string, options: StartingPoint, hint = ''): NonNullable<From> {
  const from = startingPoint(options);
  if (from !== undefined) return from;
  throw new CliError('OPTION_REQUIRED', 'say where to start: --from-teacher N, --from-state DIGEST or --last', {
    exitCode: ExitCode.usage,
    hint: `the teachers: espalier teachers ${parentRunId}${hint}`,
  });
}

/** Reads the file of --config for a fork. */
export async function fileOfFork(options: { config?: string }): Promise<RunFile> {
  const file = await runFileFor(options);
  const refused = (key: string, why: string): CliError =>
    new CliError('CONFIG_INVALID', `${key}: ${why}`, { field: '--config', exitCode: ExitCode.usage });
  if (file.model !== undefined) throw refused('model', 'a fork has the model of its parent');
  if (file.measure !== undefined) throw refused('measure', 'a fork uses the table of its parent');
  return file;
}

export function registerFork(program: Command): void {
  const fork = program.command('fork');
  addStartOptions(fork)
    .argument('<run>', 'the parent: its id, the first 4 or more characters of it, or its name')
    .summary('start a new run from a teacher of another')
    .description(
      "Starts a new run from exactly the state of one of a run's teachers, or its last state. The parent is left as it is, and the " +
        'shared past is stored once. What keeps the state meaningful may be changed from here on; the model and the shape of LoRA may not.',
    )
    .option('--config <file>', 'YAML file with the values that are not given as options: data, settings, name, tags, note', absolutePath)
    .option('--request-id <id>', 'repeat a fork with the same id without starting a second run', requestId)
    .option('-w, --watch', 'stay and show the progress');
  addDataOptions(fork, 'other text to train on', "other text to evaluate on (default: the parent's)");
  fork.option('--no-validation', "with --data: don't evaluate the fork, though its parent is evaluated");
  addForkOptions(addLabelOptions(fork));
  examples(
    fork,
    ['espalier fork k3f9 --from-teacher 30 --target-sparsity 0.7 --steps 2000'],
    ['espalier fork k3f9 --last --recipe distill --watch'],
  );
  action<ForkOptions, [string]>(fork, async (context, [parentRunId], options) => {
    const { connection, output } = context;
    const from = startOfFork(parentRunId, options);
    const file = await fileOfFork(options);
    const data = dataChoice(options, file);
    const request = v1.ForkRunRequest.fromPartial({
      requestId: options.requestId ?? randomUUID(),
      ...labelsOf(options, file),
      parentRunId: parentRunId,
      from,
      data: Object.keys(data).length === 0 ? undefined : await new HubFiles(context).source(dataSource(data)),
      settings: settingsOf(options, file.settings),
    });
    const note = await lostTeachersNote(connection, parentRunId, from);
    if (note !== undefined) warnOf(output, 'TEACHERS_LOST', note);
    const response = await connection.call(connection.runs, connection.runs.forkRun, request, LAUNCH_TIMEOUT_MS);
    if (!output.json) {
      printLaunched(context, response.run, response.alreadyLaunched);
      output.line(`forked from ${response.run.parentRunId} at step ${response.run.forkedAtStep}`);
      output.text(evaluatedOn(response.run, data));
    }
    printWarnings(output, response.warnings, fork);
    return endOfLaunch(context, response.run, options);
  });
}

/** Describes the text that the fork is evaluated on. Another training text does not change it. */
function evaluatedOn({ data }: v1.Run, { validation }: DataChoice): string {
  const paths = [data?.validationPath ?? '', ...(data?.moreValidationPaths ?? [])].filter((path) => path !== '');
  if (paths.length === 0) return 'not evaluated: it has no validation text (--validation)';
  return `evaluated on ${validation === undefined ? "its parent's validation text" : 'validation text of its own'}: ${paths.join(', ')}`;
}
