// The commands on a run that its state allows.
import { useState } from 'preact/hooks';
import { useMay } from '../api/caller.js';
import { runService, troubleOf } from '../api/client.js';
import { useTrouble } from '../api/loaded-data.js';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { ArtifactService } from '../generated/espalier/v1/artifact_service_pb.js';
import { RunService, type Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { ReasonForm } from '../forms/reason-form.js';
import { TroubleNote } from '../ui/pending.js';
import { go } from '../ui/router.js';
import { MoreMenu } from './more-menu.js';

const { pauseRun, resumeRun, cancelRun, deleteRun, forkRun } = RunService.method;
const UNDER_WAY = [RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.RESTARTING];
const ENDED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED];

export function Actions({ run, changed, fork }: { run: Run; changed: () => void; fork: () => void }) {
  const [trouble, setTrouble] = useTrouble();
  const [asked, setAsked] = useState<'cancel' | 'delete' | null>(null);
  const [isBusy, setBusy] = useState(false);
  const { runId, status, launchedBy } = run;
  const may = useMay();
  const act = async (work: () => Promise<unknown>): Promise<void> => {
    setBusy(true);
    setTrouble(undefined);
    try {
      await work();
      changed();
    } catch (error) {
      setTrouble(troubleOf(error));
    } finally {
      setBusy(false);
    }
  };
  const isUnderWay = UNDER_WAY.includes(status);
  const isAtRest = ENDED.includes(status) || status === RunStatus.PAUSED;
  return (
    <>
      {isUnderWay && may(pauseRun, launchedBy) && (
        <button disabled={isBusy} onClick={() => void act(() => runService.pauseRun({ runId }))}>
          Pause
        </button>
      )}
      {(status === RunStatus.PAUSED || status === RunStatus.FAILED) && may(resumeRun, launchedBy) && (
        <button
          class="main"
          disabled={isBusy}
          onClick={() => void act(() => runService.resumeRun({ runId, from: { case: 'lastState', value: true } }))}
        >
          Resume
        </button>
      )}
      {run.stateDigest !== '' && status !== RunStatus.DELETED && may(forkRun) && <button onClick={fork}>Fork</button>}
      {(isUnderWay || status === RunStatus.PAUSED) && may(cancelRun, launchedBy) && (
        <button class="danger" onClick={() => setAsked('cancel')}>
          Cancel
        </button>
      )}
      {ENDED.includes(status) && may(deleteRun) && (
        <button class="danger" onClick={() => setAsked('delete')}>
          Delete
        </button>
      )}
      <MoreMenu
        run={run}
        mayRewind={isAtRest && run.teacherCount > 0 && may(resumeRun, launchedBy)}
        mayThin={isAtRest && may(ArtifactService.method.discardArtifacts)}
        changed={changed}
      />
      <TroubleNote trouble={trouble} />
      {asked !== null && (
        <ReasonForm
          title={`${WORDS[asked].title} ${nameOf(run)}`}
          button={WORDS[asked].button}
          act={(reason) => (asked === 'cancel' ? runService.cancelRun({ runId, reason }) : runService.deleteRun({ runId, reason }))}
          close={() => setAsked(null)}
          done={() => {
            setAsked(null);
            if (asked === 'delete') go('/');
            else changed();
          }}
        >
          {WORDS[asked].text}
        </ReasonForm>
      )}
    </>
  );
}

const WORDS = {
  cancel: {
    title: 'Cancel',
    text: 'It ends at the next step and keeps everything. It can be forked, or rewound to a teacher.',
    button: 'Cancel the run',
  },
  delete: {
    title: 'Delete',
    text: 'Its states, teachers and exports are thrown away for good, except those that forks need. Its history stays.',
    button: 'Delete the run',
  },
};
