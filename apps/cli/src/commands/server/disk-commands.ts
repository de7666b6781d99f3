// The commands du and gc, which show the use of the disk and make room.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { positiveNumber, wholeNumber } from '../../options/parse.js';
import { bytes, duration, howMany, shortDigest, statusWord } from '../../output/format.js';
import { EVALUATING } from '../../output/run-status.js';
import { clearUnfinished, unfinishedWords } from '../../output/result-files.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples } from '../command.js';
import { confirm } from '../confirm.js';
import { thinningNote } from '../runs/lost-teachers.js';

const GC_HINT = '; set it aside with: espalier gc (what is older than an hour)';
const QUARANTINE_HINT = '; removed a week after they were set aside, or now with: espalier gc --now';
/** The server's own default, which counts when the option is not given. */
const DEFAULT_MIN_AGE_SECONDS = 3_600;
/** Thousands of files may have to be removed. */
export const ROOM_TIMEOUT_MS = 600_000;

export function registerRoom(program: Command): void {
  registerUsage(program);
  registerCollect(program);
}

function registerUsage(program: Command): void {
  const usage = program
    .command('du')
    .summary('the use of the disk, by run and by kind')
    .description(
      'Shows the size of the artifacts of each run, the size that several runs share, and the room that deleting a run would ' +
        'free. The event store and the views have lines of their own.',
    );
  examples(usage, ['espalier du'], ['espalier du --json | jq .runs[0]']);
  action(usage, async ({ connection, output }) => {
    const response = await connection.call(connection.artifacts, connection.artifacts.getDiskUsage, {}, ROOM_TIMEOUT_MS);
    output.result(response, () => {
      output.table(
        ['RUN', 'NAME', 'STATUS', 'STATES', 'EXPORTS', 'TOKENS', 'SHARED', 'RECLAIMABLE'],
        response.runs.map((run) => [
          run.runId,
          run.name || '-',
          run.evaluating ? EVALUATING : statusWord(run.status),
          bytes(run.statesBytes),
          bytes(run.exportsBytes),
          bytes(run.tokensBytes),
          bytes(run.sharedBytes),
          bytes(run.reclaimableBytes),
        ]),
        [3, 4, 5, 6, 7],
        { NAME: 'cut', SHARED: 3, STATUS: 2, TOKENS: 1 },
      );
      if (response.runs.length > 0) output.line();
      output.pairs([
        ['states', bytes(response.statesBytes)],
        ['exports', bytes(response.exportsBytes)],
        ['tokens', bytes(response.tokensBytes)],
        ['no run needs', `${bytes(response.unneededBytes)}${response.unneededBytes > 0n ? GC_HINT : ''}`],
        ['artifacts in all', `${bytes(response.artifactsBytes)}, of which several runs share ${bytes(response.sharedBytes)}`],
        ['in quarantine', response.quarantineBytes === 0n ? undefined : `${bytes(response.quarantineBytes)}${QUARANTINE_HINT}`],
        ['incoming', response.incomingBytes === 0n ? undefined : bytes(response.incomingBytes)],
        ['event store', response.eventStoreBytes === undefined ? undefined : bytes(response.eventStoreBytes)],
        ['views', bytes(response.viewsBytes)],
        ['free', response.availableBytes === undefined ? undefined : bytes(response.availableBytes)],
      ]);
    });
  });
}

interface CollectOptions {
  keepEvery?: number;
  abandoned?: boolean;
  exports?: boolean;
  reason?: string;
  minAge?: number;
  now?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

function registerCollect(program: Command): void {
  const collect = program
    .command('gc')
    .argument('[run]', 'thin out this run; without it: artifacts that no run needs')
    .summary('make room: thin out a run, or set aside artifacts that no run needs')
    .description(
      'Without a run: sets aside what no event needs, such as the left-overs of a crash. It lies in the quarantine for a week, comes ' +
        'back when it is needed after all, and goes then; with --now it goes at once, and so does all that was set aside before. With a ' +
        'run that has ended or is paused: throws away teachers or exports of it, as the options say, and records which and why. What ' +
        'stays in any case: the last state, where a fork began, what remaining exports were made from, and all that other runs need. ' +
        'The history stays whole; steps that a lost teacher instructed can no longer be replayed, and a rewind below them ends in ' +
        'other bits. Without a run also exports in this folder that were killed before they were done.',
    )
    .option('--keep-every <n>', 'of the teachers keep every n-th and the last', positiveNumber)
    .option('--abandoned', 'the teachers of abandoned branches go')
    .option('--exports', "the server's copies of the exports go")
    .option('--reason <text>', 'kept in the history')
    .option('--min-age <seconds>', 'without a run: younger artifacts stay, since a run may be about to name them (3600)', wholeNumber)
    .option('--now', 'without a run: remove it for good, and empty the quarantine')
    .option('--dry-run', 'only list what would be removed')
    .option('-y, --yes', 'do not ask');
  examples(
    collect,
    ['espalier gc --dry-run'],
    ['espalier gc k3f9 --keep-every 5 --abandoned', 'teachers 5, 10, 15, ... and the last stay'],
  );
  action<CollectOptions>(collect, (context, [runId], options) =>
    runId === undefined ? collectGarbage(context, options) : thinOut(context, runId, options),
  );
}

async function collectGarbage(context: Context, options: CollectOptions): Promise<void> {
  const { output } = context;
  if (options.keepEvery !== undefined || options.abandoned === true || options.exports === true)
    throw new CliError('OPTION_REQUIRED', '--keep-every, --abandoned and --exports are for a run: name it', { exitCode: ExitCode.usage });
  const request = { dryRun: options.dryRun ?? false, minAgeSeconds: options.minAge, now: options.now ?? false };
  if (request.now && !request.dryRun && options.yes !== true) {
    const { last } = await lookForGarbage(context, { ...request, dryRun: true });
    if (last.artifacts > 0n)
      await confirm(
        `remove ${artifactCount(last.artifacts)} (${bytes(last.freedBytes)}) that no run needs for good?`,
        'nothing was removed',
      );
  }
  const { artifacts, last } = await lookForGarbage(context, request);
  const minAgeSeconds = options.minAge ?? DEFAULT_MIN_AGE_SECONDS;
  const { freedBytes, setAsideBytes } = last;
  output.result({ dryRun: request.dryRun, now: request.now, minAgeSeconds, artifacts, freedBytes, setAsideBytes }, () => {
    const age = minAgeSeconds === 0 ? '' : `; what is younger than ${duration(minAgeSeconds)} stays (--min-age)`;
    const [sets, frees] = request.dryRun ? ['would set aside', 'would free'] : ['set aside', 'freed'];
    const what = `${artifactCount(last.artifacts)} that no run needs${age}`;
    if (request.now || setAsideBytes === 0n) return output.text(`${frees} ${bytes(freedBytes)} in ${what}`);
    const left = freedBytes === 0n ? '' : `, and ${frees} ${bytes(freedBytes)} of files that never became artifacts`;
    output.text(`${sets} ${bytes(setAsideBytes)} in ${what}${left}${request.dryRun ? '' : QUARANTINE_HINT}`);
  });
}

async function lookForGarbage(
  { connection, output, signal }: Context,
  request: { dryRun: boolean; minAgeSeconds: number | undefined; now: boolean },
): Promise<{ artifacts: v1.DiscardedArtifact[]; last: v1.CollectGarbageResponse }> {
  const line = new ShareLine(output, 'looking');
  const artifacts: v1.DiscardedArtifact[] = [];
  let last = v1.CollectGarbageResponse.fromPartial({});
  try {
    for await (const response of connection.stream(connection.artifacts, connection.artifacts.collectGarbage, request, signal)) {
      line.update(response.doneShare);
      if (response.artifact !== undefined) artifacts.push(response.artifact);
      last = response;
    }
  } finally {
    line.end();
  }
  if (!request.dryRun) for (const path of clearUnfinished(process.cwd())) line.note(unfinishedWords(path));
  return { artifacts, last };
}

async function thinOut({ connection, output }: Context, runId: string, options: CollectOptions): Promise<void> {
  const { keepEvery, abandoned = false, exports = false, reason = '', minAge } = options;
  if (keepEvery === undefined && !abandoned && !exports)
    throw new CliError('OPTION_REQUIRED', 'name the artifacts to remove: --keep-every N, --abandoned or --exports', {
      exitCode: ExitCode.usage,
    });
  for (const [field, given] of Object.entries({ '--min-age': minAge, '--now': options.now })) {
    if (given !== undefined)
      throw new CliError('OPTIONS_CONFLICT', `${field} is for artifacts that no run needs: name no run with it`, {
        field,
        exitCode: ExitCode.usage,
      });
  }
  const request = { runId, keepEvery, abandoned, exports, reason, dryRun: true };
  const ask = (dryRun: boolean) =>
    connection.call(connection.artifacts, connection.artifacts.discardArtifacts, { ...request, dryRun }, ROOM_TIMEOUT_MS);
  const planned = await ask(true);
  const what = whatGoes(planned);
  const justLooking = options.dryRun === true || planned.artifacts.length === 0;
  const note = thinningNote(planned);
  const isAsked = !justLooking && options.yes !== true;
  if (isAsked) await confirm(`${note === undefined ? '' : `${note} `}throw away ${what} of run ${runId}?`, 'nothing was thrown away');
  const result = justLooking ? planned : await ask(false);
  output.result({ ...result, dryRun: justLooking, note: note ?? '' }, () => {
    if (options.dryRun === true) for (const one of planned.artifacts) output.line(artifactLine(one));
    if (planned.artifacts.length === 0) output.line('there is nothing to throw away');
    else output.text(justLooking ? `would throw away ${what}` : `threw away ${what}: ${bytes(result.freedBytes)} freed`);
    if (note !== undefined && !isAsked) output.text(note);
  });
}

export function artifactCount(number: number | bigint): string {
  return howMany(number, 'artifact');
}

function whatGoes({ artifacts, freedBytes }: v1.DiscardArtifactsResponse): string {
  const teachers = artifacts.reduce((sum, { marks }) => sum + marks.length, 0);
  return `${artifactCount(artifacts.length)}${teachers > 0 ? `, of ${howMany(teachers, 'teacher')}` : ''} (${bytes(freedBytes)})`;
}

function artifactLine({ kind, digest, marks, bytes: size }: v1.DiscardedArtifact): string {
  const teachers = marks.length > 0 ? `, teacher ${marks.map((mark) => `#${mark}`).join(' ')}` : '';
  return `${kind} ${shortDigest(digest)}${teachers}, ${bytes(size)}`;
}
