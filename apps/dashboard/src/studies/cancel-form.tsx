// Asks before a study is cancelled.
import { useState } from 'preact/hooks';
import { studyService, troubleOf, type Trouble } from '../api/client.js';
import type { Study } from '../generated/espalier/v1/study_service_pb.js';
import { FormDialog, TroubleNote } from '../ui/parts.js';

export function CancelForm({ study, close, done }: { study: Study; close: () => void; done: () => void }) {
  const [reason, setReason] = useState('');
  const [trouble, setTrouble] = useState<Trouble>();
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await studyService.cancelStudy({ studyId: study.studyId, reason });
      done();
      close();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <FormDialog
      title={`Cancel ${study.name}`}
      heading={`Cancel ${study.name}?`}
      button="Cancel the study"
      isDanger
      send={send}
      close={close}
    >
      <p>No more of its runs are launched, and those under way are cancelled. What has completed stays.</p>
      <br />
      <label class="field">
        <span>Reason, for the history</span>
        <input value={reason} maxLength={1000} onInput={({ currentTarget }) => setReason(currentTarget.value)} />
      </label>
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
