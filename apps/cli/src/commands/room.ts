// du, gc, delete: what the disk holds, and making room.
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../context.js';
import { positiveNumber, wholeNumber } from '../options/parse.js';
import { bytes, duration, howMany, shortDigest, statusWord } from '../output/format.js';
import { clearUnfinished, unfinishedWords } from '../files.js';
import { ShareLine } from '../progress/share-line.js';
import { action, examples } from './command.js';
import { thinningNote } from './lost-teachers.js';

const GC_HINT = '; clear it away with: espalier gc (what is older than an hour)';
/** The server's own, when none is given. */
const DEFAULT_MIN_AGE_SECONDS = 3_600;
/** Thousands of files may have to go. */
const ROOM_TIMEOUT_MS = 600_000;

export function registerRoom(program: Command): void {
  registerUsage(program);
  registerCollect(program);
  registerDelete(program);
}

function registerUsage(program: Command): void {
  const usage = program
    .command('du')
    .summary('what the disk holds, by run and by kind')
    .description(
      'Shows what the artifacts of each run take, what several runs share, and what deleting a run would free; the event store and the ' +
        'views besides.',
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
          statusWord(run.status),
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
  dryRun?: boolean;
  yes?: boolean;
}

function registerCollect(program: Command): void {
  const collect = program
    .command('gc')
    .argument('[run]', 'thin this run out; without it: what no run needs')
    .summary('make room: thin a run out, or clear away what no run needs')
    .description(
      'Without a run: throws away what no event needs, such as the left-overs of a crash. With a run that has ended or is paused: throws ' +
        'away teachers or exports of it, as the options say, and records which and why. What stays in any case: the last state, where a ' +
        'fork began, what remaining exports were made from, and all that other runs need. The history stays whole; steps that a lost ' +
        'teacher instructed can no longer be replayed, and a rewind below them ends in other bits. Without a run also exports in this ' +
        'folder that were killed before they were done.',
    )
    .option('--keep-every <n>', 'of the teachers keep every n-th and the last', positiveNumber)
    .option('--abandoned', 'the teachers of abandoned branches go')
    .option('--exports', "the server's copies of the exports go")
    .option('--reason <text>', 'kept in the history')
    .option('--min-age <seconds>', 'without a run: what is younger stays, since a run may be about to name it (3600)', wholeNumber)
    .option('--dry-run', 'only say what would go')
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

async function collectGarbage({ connection, output, signal }: Context, options: CollectOptions): Promise<void> {
  if (options.keepEvery !== undefined || options.abandoned === true || options.exports === true)
    throw new CliError('OPTION_REQUIRED', '--keep-every, --abandoned and --exports are for a run: name it', { exitCode: ExitCode.usage });
  const request = { dryRun: options.dryRun ?? false, minAgeSeconds: options.minAge };
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
  const minAgeSeconds = options.minAge ?? DEFAULT_MIN_AGE_SECONDS;
  output.result({ dryRun: request.dryRun, minAgeSeconds, artifacts, freedBytes: last.freedBytes }, () => {
    const age = minAgeSeconds === 0 ? '' : `; what is younger than ${duration(minAgeSeconds)} stays (--min-age)`;
    output.text(
      `${request.dryRun ? 'would free' : 'freed'} ${bytes(last.freedBytes)} in ${artifactCount(last.artifacts)} that no run needs${age}`,
    );
  });
}

async function thinOut({ connection, output }: Context, runId: string, options: CollectOptions): Promise<void> {
  const { keepEvery, abandoned = false, exports = false, reason = '', minAge } = options;
  if (keepEvery === undefined && !abandoned && !exports)
    throw new CliError('OPTION_REQUIRED', 'say what of the run goes: --keep-every N, --abandoned or --exports', {
      exitCode: ExitCode.usage,
    });
  if (minAge !== undefined)
    throw new CliError('OPTIONS_CONFLICT', '--min-age is for what no run needs: name no run with it', {
      field: '--min-age',
      exitCode: ExitCode.usage,
    });
  const request = { runId, keepEvery, abandoned, exports, reason, dryRun: true };
  const ask = (dryRun: boolean) =>
    connection.call(connection.artifacts, connection.artifacts.discardArtifacts, { ...request, dryRun }, ROOM_TIMEOUT_MS);
  const planned = await ask(true);
  const what = whatGoes(planned);
  const justLooking = options.dryRun === true || planned.artifacts.length === 0;
  const note = thinningNote(planned);
  const isAsked = !justLooking && options.yes !== true;
  if (isAsked) await confirm(`${note === undefined ? '' : `${note} `}throw away ${what} of run ${runId}?`);
  const result = justLooking ? planned : await ask(false);
  output.result({ ...result, dryRun: justLooking, note: note ?? '' }, () => {
    if (options.dryRun === true) for (const one of planned.artifacts) output.line(artifactLine(one));
    if (planned.artifacts.length === 0) output.line('there is nothing to throw away');
    else output.text(justLooking ? `would throw away ${what}` : `threw away ${what}: ${bytes(result.freedBytes)} freed`);
    if (note !== undefined && !isAsked) output.text(note);
  });
}

function artifactCount(number: number | bigint): string {
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

function registerDelete(program: Command): void {
  const remove = program
    .command('delete')
    .argument('<run>', 'its whole id')
    .summary('throw away everything of a run but its history')
    .description(
      'Throws away every artifact that only this run needs: states, exports, tokens. Its history stays and says so; forks of it keep ' +
        'what they need. The run is no longer listed (runs --deleted shows it), and can be neither resumed nor forked. A run that is at ' +
        'work must be paused or cancelled first.',
    )
    .option('--reason <text>', 'kept in the history')
    .option('-y, --yes', 'do not ask');
  examples(remove, ['espalier delete k3f9abcdefgh --reason "wrong corpus"']);
  action<{ reason?: string; yes?: boolean }>(remove, async ({ connection, output }, [runId], { reason = '', yes }) => {
    const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId: runId! });
    const name = run!.name === '' ? '' : ` (${run!.name})`;
    if (run!.runId !== runId) {
      throw new CliError('OPTION_INVALID', `what can't be undone takes a whole id: ${run!.runId}${name} is meant`, {
        field: 'run_id',
        exitCode: ExitCode.usage,
        hint: `espalier delete ${run!.runId}`,
      });
    }
    if (yes !== true) {
      await confirm(`delete run ${run!.runId}${name}, ${statusWord(run!.status)} at step ${run!.step}? This can't be undone.`);
    }
    const response = await connection.call(connection.runs, connection.runs.deleteRun, { runId, reason }, ROOM_TIMEOUT_MS);
    output.result(response, () =>
      output.text(
        `${runId} is deleted: ${bytes(response.freedBytes)} freed in ${artifactCount(response.discardedArtifacts)}; its history stays`,
      ),
    );
  });
}

/** @throws CliError when the answer is no, or when there is nobody to ask */
async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new CliError('CONFIRMATION_NEEDED', `${question} Nobody can be asked here`, { exitCode: ExitCode.usage, hint: 'say --yes' });
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question(`${question} [y/N] `).finally(() => prompt.close());
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError('NOT_CONFIRMED', 'nothing was thrown away', { exitCode: ExitCode.failed });
}
