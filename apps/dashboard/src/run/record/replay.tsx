// Asks the server to compute the recorded steps of a run again and to compare them. This is a job, which goes on when the page is left.
import { May } from '../../api/caller.js';
import { runService, troubleOf } from '../../api/client.js';
import { useTrouble } from '../../api/loaded-data.js';
import { JobState, RunService } from '../../generated/espalier/v1/run_service_pb.js';
import { TroubleNote } from '../../ui/pending.js';
import { Jobs, useJobs } from '../results/jobs.js';

export function Replay({ runId }: { runId: string }) {
  const jobs = useJobs(runId);
  const [trouble, setTrouble] = useTrouble();
  const checks = jobs.data?.filter(({ request }) => request?.work.case === 'verify');
  const isRunning = checks?.some(({ state }) => state === JobState.RUNNING) === true;
  const start = async (): Promise<void> => {
    setTrouble(undefined);
    try {
      await runService.startJob({ work: { case: 'verify', value: { runId, replay: true } } });
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    jobs.reload();
  };
  return (
    <>
      <p>
        A replay computes the recorded steps again on an engine, and compares the states bit by bit. It takes about as long as the training.
      </p>
      <May call={RunService.method.startJob}>
        <p>
          <button type="button" disabled={isRunning} onClick={() => void start()}>
            Check with replay
          </button>
        </p>
      </May>
      <TroubleNote trouble={trouble} />
      <Jobs jobs={{ ...jobs, data: checks }} />
    </>
  );
}
