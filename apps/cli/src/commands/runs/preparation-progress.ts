// Waits between a launch and the training, while the server reads the model and tokenizes the text.
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { followRun, waitsForUser } from '../../progress/follow-run.js';
import { LiveLine } from '../../progress/live-line.js';
import { runLine, waitWords } from '../../progress/run-line.js';

/**
 * Shows the progress of the preparation, and returns the prepared run. Ctrl-C does not stop the run.
 * @throws CliError that says why the run could not be prepared
 */
export async function untilPrepared(context: Context, launched: v1.Run): Promise<v1.Run> {
  const run = launched.preparation === undefined ? launched : await followed(context, launched);
  if (waitsForUser(run)) {
    // Without this error, a launch that stands still would look like one that trains.
    const { code, message, command } = run.waitingFor;
    const hint = `run ${run.runId} does not train yet; when the cause is mended, go on with: ${command}`;
    throw new CliError(code, message, { exitCode: ExitCode.failed, hint });
  }
  if (run.status !== v1.RunStatus.RUN_STATUS_FAILED || run.failure === undefined) return run;
  const { code, message, field } = run.failure;
  // The run exists and has failed, so the exit code is not that of a wrong command line.
  throw new CliError(code, message, {
    ...(field === '' ? {} : { field }),
    exitCode: ExitCode.failed,
    hint:
      `run ${run.runId} has failed; when the cause is mended, launch another. ` +
      `Its record goes from the list with: espalier delete ${run.runId}`,
  });
}

async function followed(context: Context, launched: v1.Run): Promise<v1.Run> {
  const { output, signal } = context;
  const { runId } = launched;
  const live = new LiveLine(output.terminal);
  let run = launched;
  let told = '';
  try {
    for await (const item of followRun({ runId, findServer: () => context.findServer(), signal })) {
      if (item.kind !== 'update') continue;
      run = item.update.run ?? run;
      if (run.preparation === undefined || waitsForUser(run)) break;
      // Between two tries the run waits for nothing. The same cause is reported only once.
      if (run.waitingFor !== undefined && run.waitingFor.code !== told) {
        told = run.waitingFor.code;
        live.note(`the run waits for ${waitWords(run.waitingFor)}`);
      }
      if (!output.json) live.update(runLine({ run, latest: undefined }, output.terminal, output.terminal.columns - 1));
    }
  } catch (error) {
    live.end();
    if (signal.aborted && !output.json) output.line(`run ${runId} goes on; cancel it with: espalier cancel ${runId}`);
    throw error;
  }
  live.end();
  return run;
}
