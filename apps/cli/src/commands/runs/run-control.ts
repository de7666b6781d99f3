// The commands pause, resume, cancel and watch, which steer one run.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { followRun, hasEnded } from '../../progress/follow-run.js';
import { bigNumber, wholeNumber } from '../../options/parse.js';
import { statusWord } from '../../output/format.js';
import { warnOf } from '../../output/warnings.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';
import { confirm } from '../confirm.js';
import { startingPoint, type StartingPoint } from './fork.js';
import { LAUNCH_TIMEOUT_MS } from './launch.js';
import { lostTeachersNote } from './lost-teachers.js';
import { watchToEnd } from './run-watch.js';

/** Pausing waits for the end of a step, and until the state is on the disk. */
const STEER_TIMEOUT_MS = 180_000;

export function registerSteering(program: Command): void {
  registerWatch(program);
  registerPause(program);
  registerResume(program);
  registerCancel(program);
}

function registerWatch(program: Command): void {
  const watch = program
    .command('watch')
    .argument(...RUN_ARGUMENT)
    .summary('show the progress of a run')
    .description(
      'Shows a run until it has ended: a live line on a terminal, plain lines otherwise, one JSON object a line with --json. ' +
        'Survives a restart of the server. Ctrl-C stops the watching, not the run. The loss is a distance to the teacher that instructs, ' +
        'so it jumps where another one begins ("new teacher"): layer is the mean square of what the layers differ by, kl and lm are in ' +
        'nats a token.',
    )
    .option('--after-revision <n>', 'only events after that revision', bigNumber)
    .option('--follow', 'stay when the run has ended');
  examples(watch, ['espalier watch k3f9'], ['espalier watch k3f9 --json | jq .run.expected_sparsity']);
  action<{ afterRevision?: bigint; follow?: boolean }, [string]>(watch, (context, [run], options) => watchToEnd(context, run, options));
}

function registerPause(program: Command): void {
  const pause = program
    .command('pause')
    .argument(...RUN_ARGUMENT)
    .summary('stop a run at the next step')
    .description('Stops a run at the next step; its state is recorded, and `resume` goes on from exactly there.');
  pause.option('--no-wait', 'do not wait until it stands still');
  examples(pause, ['espalier pause k3f9']);
  action<{ wait: boolean }, [string]>(pause, async (context, [runId], { wait }) => {
    const { connection, output } = context;
    const response = await connection.call(connection.runs, connection.runs.pauseRun, { runId }, STEER_TIMEOUT_MS);
    const run = wait ? await standingStill(context, response.run) : response.run;
    const isPaused = run.status === v1.RunStatus.RUN_STATUS_PAUSED;
    output.result(run, () => {
      const next = isPaused ? `; go on with: espalier resume ${run.runId}` : hasEnded(run) ? '' : '; it pauses after this step';
      output.text(`${run.runId} is ${statusWord(run.status)} at step ${run.step}${next}`);
    });
    return isPaused || !wait ? ExitCode.ok : ExitCode.notAllowed; // the run ended before it could be paused
  });
}

/** Waits until the run is paused, or has ended before that, and returns it. */
async function standingStill(context: Context, run: v1.Run): Promise<v1.Run> {
  let now = run;
  const updates = followRun({
    runId: run.runId,
    findServer: () => context.findServer(),
    signal: context.signal,
    giveUpAfterMs: STEER_TIMEOUT_MS,
  });
  if (now.status === v1.RunStatus.RUN_STATUS_PAUSED) return now;
  for await (const item of updates) {
    if (item.kind !== 'update' || item.update.run === undefined) continue;
    now = item.update.run;
    if (now.status === v1.RunStatus.RUN_STATUS_PAUSED) break;
  }
  return now;
}

function registerResume(program: Command): void {
  const resume = program
    .command('resume')
    .argument(...RUN_ARGUMENT)
    .summary('go on with a paused or failed run, or rewind an ended one to a teacher')
    .description(
      'Goes on from the last recorded state of a paused or failed run. With --from-teacher a run that is paused or has ended ' +
        '(completed, failed, cancelled) is rewound: the steps after that teacher become an abandoned branch, which stays readable, and ' +
        'the run goes on from the teacher.',
    )
    .option('--from-teacher <mark>', 'rewind to this teacher, see: espalier teachers RUN', wholeNumber)
    .option('--from-state <digest>', 'rewind to the teacher with this state digest (4 or more digits of it)')
    .option(
      '--accept-other-numerics',
      'go on although the engine computes other bits than before (another build, device or thread count); recorded',
    )
    .option('-y, --yes', 'do not ask before the end of a run that has ended is given up')
    .option('-w, --watch', 'stay and show the progress');
  examples(resume, ['espalier resume k3f9 --watch'], ['espalier resume k3f9 --from-teacher 20', 'rewind to 20% sparsity']);
  action<StartingPoint & { acceptOtherNumerics?: boolean; watch?: boolean; yes?: boolean }, [string]>(
    resume,
    async (context, [runId], options) => {
      const { connection, output } = context;
      const from = startingPoint({ ...options, last: false });
      if (from !== undefined && options.yes !== true) await confirmRewind(context, runId, options);
      const request = { runId, from, acceptOtherNumerics: options.acceptOtherNumerics ?? false };
      const note = await lostTeachersNote(connection, runId, from);
      if (note !== undefined) warnOf(output, 'TEACHERS_LOST', note);
      const { run } = await connection.call(connection.runs, connection.runs.resumeRun, request, LAUNCH_TIMEOUT_MS);
      if (!options.watch || !output.json) {
        const isQueued = run.status === v1.RunStatus.RUN_STATUS_QUEUED;
        const when = isQueued ? ` when an engine takes it; what it waits for: espalier show ${run.runId}` : '';
        output.result(run, () => output.text(`${run.runId} goes on from step ${run.step} (${statusWord(run.status)})${when}`));
      }
      return options.watch ? watchToEnd(context, run.runId) : 0;
    },
  );
}

/** Asks before a rewind of a run that has ended. Its last state is not a teacher, so after the rewind no run can go on from that state. */
async function confirmRewind({ connection }: Context, runId: string, { fromTeacher, fromState }: StartingPoint): Promise<void> {
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  if (!hasEnded(run) || run.stateDigest === '') return;
  if (fromTeacher !== undefined && fromTeacher > run.teacherCount) return; // the server refuses a teacher that is not there
  const start = fromTeacher === undefined ? `--from-state ${fromState}` : `--from-teacher ${fromTeacher}`;
  await confirm(
    `rewind run ${run.runId}, ${statusWord(run.status)} at step ${run.step}? Its last state can't be exported, resumed or forked any ` +
      `more. A fork trains from there too, and leaves this run as it is: espalier fork ${run.runId} ${start}.`,
    'the run is as it was',
  );
}

function registerCancel(program: Command): void {
  const cancel = program
    .command('cancel')
    .argument(...RUN_ARGUMENT)
    .summary('end a run before its last step')
    .description(
      'Ends a run: it does not go on by itself, and `resume` alone does not take it up either. Its history and teachers stay: ' +
        '`resume --from-teacher` rewinds it to one of them and goes on from there, `fork` starts another run from one. To stop a run ' +
        'for a while, pause it.',
    )
    .option('--reason <text>', 'kept in the history');
  examples(cancel, ['espalier cancel k3f9 --reason "wrong corpus"']);
  action<{ reason?: string }, [string]>(cancel, async ({ connection, output }, [runId], { reason = '' }) => {
    const { run } = await connection.call(connection.runs, connection.runs.cancelRun, { runId, reason }, STEER_TIMEOUT_MS);
    output.result(run, () => {
      const next = run.teacherCount > 0 ? `; rewind it with: espalier resume ${run.runId} --from-teacher N` : '';
      output.text(`${run.runId} is ${statusWord(run.status)} at step ${run.step}${next}`);
    });
  });
}
