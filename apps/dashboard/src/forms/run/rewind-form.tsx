// The form for a rewind: the run goes on from one of its teachers, and the steps after it become an abandoned branch.
import { useState } from 'preact/hooks';
import { artifactService, runService, type Trouble } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../../runs/columns.js';
import { count } from '../../ui/format.js';
import { FormDialog } from '../../ui/dialog.js';
import { TroubleNote } from '../../ui/pending.js';
import { FieldRow } from '../fields/field-row.js';
import { formTroubleOf } from './settings-fields.js';
import { teacherOptions } from './teacher-options.js';

interface Props {
  run: Run;
  close: () => void;
  done: () => void;
}

export function RewindForm({ run, close, done }: Props) {
  const { runId } = run;
  const [chosen, setChosen] = useState<string>();
  const [trouble, setTrouble] = useState<Trouble>();
  const { data: teachers, trouble: missing } = useLoaded(
    `rewind ${runId}`,
    async (signal) => (await artifactService.listTeachers({ runId, includeAbandoned: true }, { signal })).teachers,
  );
  const from = chosen ?? teachers?.at(-1)?.stateDigest;
  const teacher = teachers?.find(({ stateDigest }) => stateDigest === from);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (from === undefined) return;
    try {
      await runService.resumeRun({ runId, from: { case: 'stateDigest', value: from } });
      done();
    } catch (error) {
      setTrouble(formTroubleOf(error));
    }
  };
  return (
    <FormDialog
      title={`Rewind ${nameOf(run)} to a teacher`}
      button="Rewind and go on"
      isSending={from === undefined}
      send={send}
      close={close}
    >
      <div class="fields">
        <FieldRow
          label="Teacher"
          wide
          control={(described) => (
            <select autofocus value={from} {...described} onChange={({ currentTarget }) => setChosen(currentTarget.value)}>
              {teacherOptions(run, teachers, ', on an abandoned branch')}
            </select>
          )}
        />
      </div>
      {teachers?.length === 0 && <p class="note">The run has no teacher of its own to be rewound to.</p>}
      {teacher !== undefined && (
        <p>
          The run goes on from step {count(teacher.step)}. Its steps after that become an abandoned branch: they stay in the history, and
          count no more. A fork leaves the run as it is.
        </p>
      )}
      <TroubleNote trouble={trouble ?? missing} />
    </FormDialog>
  );
}
