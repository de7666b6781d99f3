import { v1 } from '#protocol';
import { ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { followRun } from '../../progress/follow-run.js';
import { missedTarget } from '../../output/run-status.js';
import { inLaunchWords } from './launch-words.js';
import { RunRenderer } from '../../progress/run-renderer.js';

export interface WatchOptions {
  afterRevision?: bigint;
  follow?: boolean;
  giveUpAfterMs?: number;
}

/**
 * Shows a run until it has ended or waits for a user. Returns 1 when it waits, failed or was cancelled, and 6 when it missed its target.
 * Ctrl-C does not stop the run.
 */
export async function watchToEnd(context: Context, runId: string, options: WatchOptions = {}): Promise<number> {
  const renderer = new RunRenderer(context.output, inLaunchWords);
  try {
    for await (const item of followRun({ ...options, runId, findServer: () => context.findServer(), signal: context.signal }))
      renderer.show(item);
  } catch (error) {
    renderer.clear();
    if (context.signal.aborted && !context.output.json) {
      context.output.text(
        `no longer watching, which changes nothing for the run: espalier watch ${runId} shows it again, espalier cancel ${runId} ends it`,
      );
    }
    throw error;
  }
  renderer.end();
  if (renderer.run?.status !== v1.RunStatus.RUN_STATUS_COMPLETED) return ExitCode.failed;
  return missedTarget(renderer.run) ? ExitCode.targetMissed : ExitCode.ok;
}
