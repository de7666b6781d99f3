// The time between a launch and the training: the server reads the model and tokenizes the text, whoever looks on.
import { EspalierError, v1 } from '#protocol';
import type { Context } from '../context.js';
import { followRun } from '../progress/follow-run.js';
import { LiveLine } from '../progress/live-line.js';
import { runLine } from '../progress/run-line.js';

/**
 * Shows how a run is prepared until it is, and gives the run as it is then. Ctrl-C leaves the run alone.
 * @throws EspalierError what kept it from being prepared
 */
export async function untilPrepared(context: Context, launched: v1.Run): Promise<v1.Run> {
  if (launched.preparation === undefined) return launched;
  const { output, signal } = context;
  const { runId } = launched;
  const live = new LiveLine(output.terminal);
  let run = launched;
  try {
    for await (const item of followRun({ runId, findServer: () => context.findServer(), signal })) {
      if (item.kind !== 'update') continue;
      run = item.update.run ?? run;
      if (run.preparation === undefined) break;
      live.update(runLine({ run, latest: undefined }, output.terminal, output.terminal.columns - 1));
    }
  } catch (error) {
    live.end();
    if (signal.aborted && !output.json) output.line(`run ${runId} goes on; cancel it with: espalier cancel ${runId}`);
    throw error;
  }
  live.end();
  if (run.status !== v1.RunStatus.RUN_STATUS_FAILED || run.failure === undefined) return run;
  const { code, message, field } = run.failure;
  throw new EspalierError(code, message, { violations: field === '' ? [] : [{ field, description: message, code }] });
}
