// The commands teachers, history, lineage, diff and views, which read the record.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { BUDGET_NAMES, BUDGETS, givenForBudget, targetWithBudget, type Targets } from '#comparison';
import { foreignInDataFolder, VIEWS_FILE } from '#files';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import { connectionWords, lastingStream } from '../../connection/lasting-stream.js';
import type { Context } from '../../command-context.js';
import { bigNumber, names, wholeNumber } from '../../options/parse.js';
import { bytes, howMany, percent, shortDigest, statusWord, when } from '../../output/format.js';
import { EVALUATING } from '../../output/run-status.js';
import { widthOf } from '../../output/text-width.js';
import { toStandardError } from '../../output/terminal.js';
import { runningServer } from '../../local-server/stack.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

export function registerRecord(program: Command): void {
  registerTeachers(program);
  registerHistory(program);
  registerLineage(program);
  registerViews(program);
}

function registerTeachers(program: Command): void {
  const teachers = program
    .command('teachers')
    .argument(...RUN_ARGUMENT)
    .summary('the snapshots that a run can be resumed, rewound or forked from')
    .description(
      'Lists the teachers of a run: snapshots of its own state, taken on the way to the target, which the student learns from later. ' +
        'Each has a number, its mark, and is a complete state: resume --from-teacher rewinds the run to it, fork --from-teacher starts ' +
        'a new run from it, export --teacher makes a model of it.',
    )
    .option('--abandoned', 'also those on branches that the run was rewound from')
    .option('--inherited', "also those of the run's ancestors, up to the fork")
    .option('--discarded', 'also those whose state was thrown away');
  examples(teachers, ['espalier teachers k3f9'], ['espalier fork k3f9 --from-teacher 30 --target-sparsity 0.7']);
  action<{ abandoned?: boolean; inherited?: boolean; discarded?: boolean }, [string]>(
    teachers,
    async ({ connection, output }, [runId], options) => {
      const request = {
        runId: runId,
        includeAbandoned: options.abandoned ?? false,
        includeInherited: options.inherited ?? false,
        includeDiscarded: options.discarded ?? false,
      };
      const response = await connection.call(connection.artifacts, connection.artifacts.listTeachers, request);
      output.result(response, () => {
        if (response.teachers.length === 0) output.line('no teachers yet: the first one is made at the first snapshot mark');
        output.table(
          ['TEACHER', 'STEP', 'EXPECTED', 'HARD', 'STATE', 'SIZE', 'SNAPSHOTTED', ''],
          response.teachers.map((teacher) => [
            `#${teacher.mark}`,
            String(teacher.step),
            percent(teacher.expectedSparsity, 2),
            percent(teacher.hardSparsity, 2),
            shortDigest(teacher.stateDigest),
            bytes(teacher.bytes),
            when(teacher.snapshottedAt),
            [teacher.abandoned ? 'abandoned' : '', teacher.inherited ? `of ${teacher.runId}` : '', teacher.discarded ? 'thrown away' : '']
              .filter(Boolean)
              .join(', '),
          ]),
          [0, 1, 2, 3, 5],
          { SNAPSHOTTED: 3, SIZE: 2, HARD: 1, '': 'wrap' },
        );
      });
    },
  );
}

interface HistoryOptions {
  from?: bigint;
  types?: string[];
  backwards?: boolean;
  limit: number;
  inherited?: boolean;
  follow?: boolean;
  data?: boolean;
}
const LARGEST_PAGE = 1000;
const TYPE_WIDTH = 22;
const DATA_INDENT = 8;
const SUMMARY_MIN = 40;

function registerHistory(program: Command): void {
  const history = program
    .command('history')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; without it, all runs with --follow')
    .summary('every recorded fact of a run')
    .description(
      'Prints the events of a run as they are stored: one line each, with --data the stored JSON too. "by NAME" says whose command an ' +
        'event comes from. Other events are work of the server itself.',
    )
    .option('--from <revision>', 'start at this revision', bigNumber)
    .option('--types <names>', 'only these, e.g. TeacherSnapshotted,TeacherAssigned', names)
    .option('--backwards', 'the newest first')
    .option('--limit <n>', 'how many at most (0: all)', wholeNumber, 0)
    .option('--inherited', "the ancestors' events up to the fork first")
    .option('--data', 'with the stored data')
    .option('-f, --follow', 'stay and print new ones; survives a restart of the server');
  examples(
    history,
    ['espalier history k3f9'],
    ['espalier history k3f9 --types TeacherAssigned --data'],
    ['espalier history --follow --json', 'of all runs'],
  );
  action<HistoryOptions>(history, async (context, [runId], options) => {
    checkHistoryOptions(runId, options);
    if (options.follow) return followHistory(context, runId ?? '', options);
    const events: v1.HistoryEvent[] = [];
    for await (const event of readHistory(context, runId ?? '', options)) {
      if (context.output.json) events.push(event);
      else printEvent(context, event, options);
    }
    context.output.result({ events }, () => undefined);
    return undefined;
  });
}

function checkHistoryOptions(runId: string | undefined, { follow, from, backwards, inherited }: HistoryOptions): void {
  const usage = (code: string, field: string, message: string): CliError =>
    new CliError(code, message, { field, exitCode: ExitCode.usage });
  if (runId === undefined && !follow) throw usage('OPTION_REQUIRED', 'run', 'name a run, or follow all of them with --follow');
  if (runId === undefined && from !== undefined) throw usage('OPTIONS_CONFLICT', '--from', '--from is a revision of one run: name the run');
  if (!follow) return;
  if (backwards) throw usage('OPTIONS_CONFLICT', '--backwards', '--backwards and --follow exclude each other');
  if (inherited)
    throw usage(
      'OPTIONS_CONFLICT',
      '--inherited',
      '--inherited and --follow exclude each other: the past of the ancestors does not change',
    );
}

async function* readHistory({ connection }: Context, runId: string, options: HistoryOptions): AsyncGenerator<v1.HistoryEvent> {
  let fromRevision = options.from;
  let left = options.limit === 0 ? Infinity : options.limit;
  do {
    const response = await connection.call(connection.history, connection.history.readHistory, {
      runId,
      fromRevision,
      pageSize: Math.min(left, LARGEST_PAGE),
      backwards: options.backwards ?? false,
      types: options.types ?? [],
      includeInherited: options.inherited ?? false,
    });
    yield* response.events.slice(0, left);
    left -= response.events.length;
    fromRevision = response.nextRevision;
  } while (fromRevision !== undefined && left > 0);
}

/** Prints events as they arrive. When the server comes back, it goes on after the last printed event. */
async function followHistory(context: Context, runId: string, options: HistoryOptions): Promise<void> {
  const { output, signal } = context;
  let afterRevision = options.from === undefined || options.from === 0n ? undefined : options.from - 1n;
  let afterPosition = '';
  let left = options.limit === 0 ? Infinity : options.limit;
  const items = lastingStream({
    findServer: () => context.findServer(),
    signal,
    open: (connection) =>
      connection.stream(
        connection.history,
        connection.history.watchHistory,
        { runId, afterRevision, afterPosition, types: options.types ?? [] },
        signal,
      ),
  });
  for await (const item of items) {
    if (item.kind !== 'message') {
      toStandardError(connectionWords(item));
      continue;
    }
    const { event, position } = item.message;
    afterPosition = position; // '' when one run is followed
    if (event === undefined) continue;
    if (runId !== '') afterRevision = event.revision;
    output.item(event, () => printEvent(context, event, options, runId === ''));
    if (--left <= 0) return;
  }
}

function printEvent({ output }: Context, event: v1.HistoryEvent, options: HistoryOptions, withRun = false): void {
  const mark = [event.abandoned ? '(abandoned)' : '', event.knownType || event.damaged ? '' : '(unknown type)'].filter(Boolean).join(' ');
  const type = event.damaged ? 'damaged' : event.type;
  const lead = [
    ...(withRun || options.inherited ? [event.runId] : []),
    String(event.revision).padStart(6),
    output.style('dim', when(event.recordedAt)),
    output.style(event.damaged ? 'red' : 'bold', type.padEnd(TYPE_WIDTH)),
  ].join('  ');
  const asked = whoAsked(event);
  const after = [asked === '' ? '' : output.style('dim', asked), mark === '' ? '' : output.style('yellow', mark)];
  const words = [event.summary, ...after.filter((one) => one !== '')].join('  ');
  // On a narrow screen the text of an event is printed on lines of its own.
  const width = widthOf(lead) + 2;
  if (output.terminal.columns - width >= SUMMARY_MIN) output.indented(`${lead}  `, width, words);
  else {
    output.line(lead.trimEnd());
    output.indented(' '.repeat(DATA_INDENT), DATA_INDENT, words);
  }
  if (options.data && !event.damaged) output.line(`${' '.repeat(DATA_INDENT)}${event.dataJson}`);
}

/** Names the user who caused an event. Most of a history is the server's own work, for which no user is named. */
function whoAsked({ context }: v1.HistoryEvent): string {
  return context === undefined || context.actor.startsWith('system:') ? '' : `by ${context.actorName || context.actor}`;
}

function registerLineage(program: Command): void {
  const lineage = program
    .command('lineage')
    .argument(...RUN_ARGUMENT)
    .summary('where a run comes from and what was forked from it')
    .description('Shows the family of a run: its ancestors and all forks, as a tree.');
  examples(lineage, ['espalier lineage k3f9']);
  action(lineage, async (context, [runId]: [string]) => {
    const { connection, output } = context;
    const response = await connection.call(connection.runs, connection.runs.getLineage, { runId });
    output.result(response, () => {
      const branches = branchesOf(response.tree, output.terminal.unicode);
      for (const [index, node] of response.tree.entries()) {
        const branch = branches[index] ?? '';
        const origin = node.depth === 0 ? '' : `forked at step ${node.forkedAtStep}, `;
        const self = node.runId === response.runId ? output.style('bold', node.runId) : node.runId;
        const name = node.name === '' ? '' : `${node.name}  `;
        const reached = `${percent(node.hardSparsity)} of ${targetWithBudget(targetsOf(node), 1)}`;
        const words = `${name}${origin}${node.evaluating ? EVALUATING : statusWord(node.status)}, ${reached}`;
        output.indented(`${branch}${self}  `, widthOf(branch) + node.runId.length + 2, words);
      }
    });
  });
}

/** The amount of a budget as its setting takes it: a share of the multiply-adds, a factor of speed. */
function targetsOf({ targetSparsity, budget }: v1.LineageNode): Targets {
  const name = BUDGET_NAMES.find((one) => BUDGETS[one].field === budget?.setting);
  if (budget === undefined || name === undefined) return { targetSparsity };
  return { targetSparsity, [name]: givenForBudget(name, budget.asked, budget.intact) };
}

/** Returns the text in front of each node of a tree in depth-first order. Only a last child ends the line of its parent. */
export function branchesOf(nodes: readonly { depth: number }[], unicode: boolean): string[] {
  const [line, child, last] = unicode ? ['│  ', '├─ ', '└─ '] : ['|  ', '|- ', '`- '];
  /** Tells whether the branch at this depth has a further sibling below the node. */
  const goesOn = (index: number, depth: number): boolean => {
    const next = nodes.slice(index + 1).find((node) => node.depth <= depth);
    return next !== undefined && next.depth === depth;
  };
  return nodes.map(({ depth }, index) => {
    const above = Array.from({ length: Math.max(depth - 1, 0) }, (_, place) => (goesOn(index, place + 1) ? line : '   '));
    return depth === 0 ? '' : `${above.join('')}${goesOn(index, depth) ? child : last}`;
  });
}

function registerViews(program: Command): void {
  const views = program
    .command('views')
    .summary('the read models behind the lists')
    .description('The read models behind lists and queries.');
  const rebuild = views
    .command('rebuild')
    .summary('rebuild them from the events')
    .description(
      'Rebuilds the read models from the recorded events. No data is lost: the events are the record, and views only follow from them. ' +
        'Where no server runs they are dropped, and its next start makes them.',
    );
  action(rebuild, async (context) => {
    const { dataFolder, output, signal } = context;
    if (!isNamed(context) && foreignInDataFolder(dataFolder) === undefined && runningServer(dataFolder) === null) {
      const dropped = dropViews(dataFolder);
      const text = dropped ? 'dropped; the next start of the server rebuilds them from the events' : `${dataFolder} holds no views`;
      output.result({ eventsDone: 0n, dropped }, () => output.line(text));
      return;
    }
    const { connection } = context;
    let eventsDone = 0n;
    for await (const progress of connection.stream(connection.history, connection.history.rebuildViews, {}, signal))
      eventsDone = progress.eventsDone;
    output.result({ eventsDone }, () => output.line(`rebuilt from ${howMany(eventsDone, 'event')}`));
  });
}

/** Tells whether the command line or the environment names the server. */
function isNamed(context: Context): boolean {
  try {
    return context.findServer().origin === 'named';
  } catch {
    return false; // the data folder's own server has not started
  }
}

/**
 * Removes the file of the views without asking a server: a damaged file may keep a server from starting. The next server makes the file
 * again.
 */
function dropViews(dataFolder: string): boolean {
  const files = ['', '-wal', '-shm', '-journal'].map((suffix) => join(dataFolder, VIEWS_FILE + suffix)).filter((file) => existsSync(file));
  for (const file of files) rmSync(file, { force: true });
  return files.length > 0;
}
