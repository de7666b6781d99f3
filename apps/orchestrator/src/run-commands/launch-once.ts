// Starts at most one run for a request. The run's id follows from the request's id, so a repeated request finds the run that it launched,
// also after a crash.
import { invalidField } from '#protocol';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { RunRepository } from '../pruning-run/run-repository.js';
import type { Changed, ForkRun, LaunchRun } from './pruning-run.commands.js';
import type { RunQuota } from './run-quota.js';

export async function launchOnce(
  { runs, quota }: { runs: RunRepository; quota: RunQuota },
  { request, by }: Pick<ForkRun | LaunchRun, 'request' | 'by'>,
  launch: (runId: string, requestDigest: string) => Promise<Changed>,
): Promise<Changed> {
  const runId = idOfRequest('run', request.requestId);
  const requestDigest = sha256Hex(canonicalJson(request));
  const known = await runs.find(runId);
  if (known !== null) return alreadyLaunched(known, requestDigest);
  return quota.launching(by, runId, () => launch(runId, requestDigest));
}

export function alreadyLaunched(run: PruningRunState, requestDigest: string): Changed {
  if (run.requestDigest !== requestDigest) {
    throw invalidField(
      'REQUEST_ID_REUSED',
      'request_id',
      `"${run.requestId}" launched run ${run.runId} with another request: use another id`,
    );
  }
  return { runId: run.runId, revision: run.revision, alreadyDone: true };
}
