// Shows the status of a run as a coloured word.
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { missedTarget, standingOf, runStatusWords, statusTone } from './format.js';

export function Status({ run }: { run: Run }) {
  const standing = standingOf(run);
  const tone = statusTone(standing);
  return (
    <span class={`status ${tone}`}>
      <span class={`dot ${tone}`} />
      {runStatusWords(run)}
      {missedTarget(standing) && ', target missed'}
    </span>
  );
}
