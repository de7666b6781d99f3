// The job that evaluates the models of a ladder that lack an evaluation. It goes on when this page is left.
import { useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { runService, troubleOf } from '../../api/client.js';
import { useTrouble } from '../../api/loaded-data.js';
import { JobState, RunService, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { TroubleNote } from '../../ui/pending.js';
import { Jobs, useJobs } from './jobs.js';

/** With more models than this, the page offers to evaluate only some of them. */
const MANY = 10;
const EVERY = { 1: 'all', 2: 'each second one', 5: 'each fifth one', 10: 'each tenth one' };

export function LadderJobs({ run: { runId }, missing }: { run: Run; missing: number }) {
  const jobs = useJobs(runId);
  const [trouble, setTrouble] = useTrouble();
  const [chosen, setChosen] = useState(1);
  const every = missing > MANY ? chosen : 1;
  const ladders = jobs.data?.filter(({ request }) => request?.work.case === 'ladder');
  const isRunning = ladders?.some(({ state }) => state === JobState.RUNNING) === true;
  const start = async (): Promise<void> => {
    setTrouble(undefined);
    try {
      await runService.startJob({ work: { case: 'ladder', value: { runId, every } } });
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    jobs.reload();
  };
  return (
    <>
      {missing > 0 && ladders !== undefined && !isRunning && (
        <section class="card" aria-label="Evaluation of the ladder">
          <div class="in bar">
            <span>
              {count(missing)} {missing === 1 ? 'model was' : 'models were'} not evaluated yet.
            </span>
            <May call={RunService.method.startJob}>
              {missing > MANY && (
                <LabelledSelect label="Teachers" value={String(every)} options={EVERY} changed={(value) => setChosen(Number(value))} />
              )}
              <button class="main" onClick={() => void start()}>
                Evaluate {every > 1 ? 'these' : missing === 1 ? 'it' : 'them'}
              </button>
            </May>
          </div>
          <TroubleNote trouble={trouble} />
        </section>
      )}
      <Jobs jobs={{ ...jobs, data: ladders }} />
    </>
  );
}
