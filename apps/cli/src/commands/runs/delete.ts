// The command delete, which removes everything of runs except their history.
import type { Command } from 'commander';
import { toEspalierError, v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { addRunFilter, listedRuns, runFilter, type RunFilterOptions } from '../../options/run-filter.js';
import { bytes, howMany, statusWord } from '../../output/format.js';
import { action, examples } from '../command.js';
import { confirm } from '../confirm.js';
import { artifactCount, ROOM_TIMEOUT_MS } from '../server/disk-commands.js';

interface DeleteOptions extends RunFilterOptions {
  reason?: string;
  yes?: boolean;
}
/** The number of runs that the question names. */
const SHOWN = 5;

export function registerDelete(program: Command): void {
  const remove = program
    .command('delete')
    .argument('[runs...]', 'their whole ids')
    .summary('throw away everything of runs but their history')
    .description(
      'Throws away every artifact that only these runs need: states, exports, tokens. Their histories stay and say so; forks of them ' +
        'keep what they need. A deleted run is no longer listed (runs --deleted shows it), and can be neither resumed nor forked. A run ' +
        'that is at work must be paused or cancelled first. Several runs are named by their ids, or found as `runs` finds them; one ' +
        'question is asked about all of them.',
    );
  addRunFilter(remove).option('--reason <text>', 'kept in the histories').option('-y, --yes', 'do not ask');
  examples(
    remove,
    ['espalier delete k3f9abcdefgh --reason "wrong corpus"'],
    ['espalier delete --status failed'],
    ["espalier delete --tag draft --where 'perplexity>20'"],
  );
  action<DeleteOptions>(remove, async (context, runIds, options) => {
    const runs = runIds.length > 0 ? await namedRuns(context, runIds, options) : await foundRuns(context, options);
    if (runs.length === 0) {
      context.output.result([], () => context.output.line('no runs match: nothing is deleted'));
      return 0;
    }
    if (options.yes !== true) await confirm(question(runs), 'nothing was thrown away');
    const [first] = runs;
    return runIds.length === 1 && first !== undefined ? deleteOne(context, first, options) : deleteAll(context, runs, options);
  });
}

async function namedRuns({ connection }: Context, runIds: string[], options: DeleteOptions): Promise<v1.Run[]> {
  if (isFilter(options))
    throw new CliError('OPTIONS_CONFLICT', '--status, --tag and --where choose the runs, so give no ids with them', {
      exitCode: ExitCode.usage,
    });
  const runs: v1.Run[] = [];
  for (const runId of new Set(runIds)) {
    const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
    if (run.runId !== runId) {
      throw new CliError('OPTION_INVALID', `deleting can't be undone, so it takes a whole id: ${run.runId}${named(run)} is meant`, {
        field: 'run_id',
        exitCode: ExitCode.usage,
        hint: `espalier delete ${run.runId}`,
      });
    }
    runs.push(run);
  }
  return runs;
}

async function foundRuns({ connection }: Context, options: DeleteOptions): Promise<v1.Run[]> {
  if (!isFilter(options))
    throw new CliError('OPTION_REQUIRED', 'say which runs: by their whole ids, or by --status, --tag or --where', {
      exitCode: ExitCode.usage,
    });
  const { runs } = await listedRuns(connection, runFilter(options));
  return runs.filter(({ status }) => status !== v1.RunStatus.RUN_STATUS_DELETED);
}

const isFilter = ({ status, tag, where }: DeleteOptions): boolean => [status, tag, where].some((one) => one !== undefined);

const named = ({ name }: v1.Run): string => (name === '' ? '' : ` (${name})`);

function question(runs: v1.Run[]): string {
  const [first, ...others] = runs;
  if (first !== undefined && others.length === 0)
    return `delete run ${first.runId}${named(first)}, ${statusWord(first.status)} at step ${first.step}? This can't be undone.`;
  const shown = runs.slice(0, SHOWN).map((run) => `${run.runId}${named(run)}, ${statusWord(run.status)}`);
  const more = runs.length - shown.length;
  return `delete ${runs.length} runs: ${shown.join('; ')}${more > 0 ? ` and ${more} more` : ''}? This can't be undone.`;
}

const remove = ({ connection }: Context, { runId }: v1.Run, { reason = '' }: DeleteOptions): Promise<v1.DeleteRunResponse> =>
  connection.call(connection.runs, connection.runs.deleteRun, { runId, reason }, ROOM_TIMEOUT_MS);

async function deleteOne(context: Context, run: v1.Run, options: DeleteOptions): Promise<number> {
  const { output } = context;
  const response = await remove(context, run, options);
  const { freedBytes, discardedArtifacts } = response;
  output.result(response, () =>
    output.text(`${run.runId} is deleted: ${bytes(freedBytes)} freed in ${artifactCount(discardedArtifacts)}; its history stays`),
  );
  return ExitCode.ok;
}

/** Deletes the runs. If one can't be deleted, for example because it is running, the others are still deleted. */
async function deleteAll(context: Context, runs: v1.Run[], options: DeleteOptions): Promise<number> {
  const { output, signal } = context;
  const deleted: v1.DeleteRunResponse[] = [];
  let kept = 0;
  for (const run of runs) {
    try {
      const response = await remove(context, run, options);
      deleted.push(response);
      output.item({ runId: run.runId, error: null, ...response }, () =>
        output.text(`${run.runId} is deleted: ${bytes(response.freedBytes)} freed`),
      );
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = toEspalierError(error);
      kept += 1;
      output.item({ runId: run.runId, error: { code, message } }, () => output.text(`${run.runId} stays: ${message}`));
    }
  }
  const freed = deleted.reduce((sum, { freedBytes }) => sum + freedBytes, 0n);
  if (!output.json) {
    const stays = kept === 0 ? '' : `; ${howMany(kept, 'run')} stayed`;
    output.text(`deleted ${howMany(deleted.length, 'run')}, ${bytes(freed)} freed${stays}; their histories stay`);
  }
  return kept === 0 ? ExitCode.ok : ExitCode.failed;
}
