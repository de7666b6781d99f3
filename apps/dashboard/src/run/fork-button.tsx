import { May } from '../api/caller.js';
import { RunService } from '../generated/espalier/v1/run_service_pb.js';

/** The button is shown in each row of the table of teachers. */
export function ForkButton({ mark, fork }: { mark: number; fork: () => void }) {
  return (
    <May call={RunService.method.forkRun}>
      <button class="plain" onClick={fork} aria-label={`Fork at teacher ${mark}`}>
        Fork
      </button>
    </May>
  );
}
