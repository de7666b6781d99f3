// The job that evaluates the models of a ladder that lack an evaluation. It goes on when this page is left.
import { useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { runService, troubleOf } from '../../api/client.js';
import { useLoaded, useRepeated, useTrouble } from '../../api/loaded-data.js';
import { LadderState, RunService, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Meter } from '../../ui/meter.js';
import { TroubleNote } from '../../ui/pending.js';
import { ladderWords } from './ladder-words.js';

const LOOK_AGAIN_MS = 1_000;
/** With more models than this, the page offers to evaluate only some of them. */
const MANY = 10;
const EVERY = { 1: 'all', 2: 'each second one', 5: 'each fifth one', 10: 'each tenth one' };

export function LadderJobCard({ run: { runId }, missing }: { run: Run; missing: number }) {
  const { data, reload } = useLoaded(`ladder ${runId}`, (signal) => runService.getLadder({ runId }, { signal }));
  const [trouble, setTrouble] = useTrouble();
  const [chosen, setChosen] = useState(1);
  const every = missing > MANY ? chosen : 1;
  const job = data?.job;
  const isRunning = job?.state === LadderState.RUNNING;
  useRepeated(reload, LOOK_AGAIN_MS, isRunning);
  const act = async (work: () => Promise<unknown>): Promise<void> => {
    setTrouble(undefined);
    try {
      await work();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    reload();
  };
  if (data === undefined || (missing === 0 && !isRunning)) return null;
  return (
    <section class="card" aria-label="Evaluation of the ladder">
      <div class="in bar">
        {isRunning ? (
          <>
            <span class="num" role="status">
              {ladderWords(job)}
            </span>
            <Meter share={job.models === 0 ? 1 : job.evaluated / job.models} label="models evaluated" />
            <May call={RunService.method.cancelLadder}>
              <button onClick={() => void act(() => runService.cancelLadder({ runId }))}>Cancel</button>
            </May>
            <span class="soft">It goes on when this page is closed.</span>
          </>
        ) : (
          <>
            {job !== undefined && job.state !== LadderState.DONE && <span class="soft">{ladderWords(job)}</span>}
            <span>
              {count(missing)} {missing === 1 ? 'model was' : 'models were'} not evaluated yet.
            </span>
            <May call={RunService.method.startLadder}>
              {missing > MANY && (
                <LabelledSelect label="Teachers" value={String(every)} options={EVERY} changed={(value) => setChosen(Number(value))} />
              )}
              <button class="main" onClick={() => void act(() => runService.startLadder({ runId, every }))}>
                Evaluate {every > 1 ? 'these' : missing === 1 ? 'it' : 'them'}
              </button>
            </May>
          </>
        )}
      </div>
      <TroubleNote trouble={trouble} />
    </section>
  );
}
