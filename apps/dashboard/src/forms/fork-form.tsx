// A new run from a teacher, or the last state, of another one; the parent stays as it is.
import { useState } from 'preact/hooks';
import { artifactService, newRequestId, runService, troubleOf, type Trouble } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { count, percent } from '../ui/format.js';
import { FormDialog, TroubleNote } from '../ui/parts.js';
import { go } from '../ui/router.js';
import { Plan, usePlan } from './plan.js';
import { settingsOf, SettingsFields, typedOf, wordsOf, type Typed } from './settings-fields.js';
import { TextField } from './text-field.js';

const LAST = 'last';

interface Props {
  parent: Run;
  /** The teacher's to fork at; null: the last state. */
  stateDigest: string | null;
  close: () => void;
}

export function ForkForm({ parent, stateDigest, close }: Props) {
  const [from, setFrom] = useState(stateDigest ?? LAST);
  const [name, setName] = useState('');
  const [tags, setTags] = useState('');
  const [typed, setTyped] = useState<Typed>({});
  const [trouble, setTrouble] = useState<Trouble>();
  const [isSending, setSending] = useState(false);
  const [requestId] = useState(newRequestId);
  const inherited = wordsOf(parent.settings);
  const { data: teachers } = useLoaded(`fork ${parent.runId}`, async (signal) => {
    const asked = { runId: parent.runId, includeAbandoned: true, includeInherited: true };
    return (await artifactService.listTeachers(asked, { signal })).teachers;
  });
  const planned = usePlan(parent.modelPath, JSON.stringify(typed), () => settingsOf({ ...typedOf(parent.settings), ...typed }));
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    try {
      const { run } = await runService.forkRun({
        requestId,
        name,
        parentRunId: parent.runId,
        from: from === LAST ? { case: 'lastState', value: true } : { case: 'stateDigest', value: from },
        settings: settingsOf(typed),
        tags: tags.split(/[\s,]+/).filter(Boolean),
      });
      close();
      go(`/runs/${run!.runId}`);
    } catch (error) {
      setTrouble(troubleOf(error));
      setSending(false);
    }
  };
  return (
    <FormDialog title={`Fork ${nameOf(parent)}`} button={isSending ? 'Forking …' : 'Fork'} isSending={isSending} send={send} close={close}>
      <div class="fields">
        <label class="field">
          <span>From</span>
          <select value={from} onChange={({ currentTarget }) => setFrom(currentTarget.value)}>
            <option value={LAST}>the last state, step {count(parent.step)}</option>
            {[...(teachers ?? [])].reverse().map(({ mark, step, expectedSparsity, stateDigest: digest, abandoned }) => (
              <option key={`${digest} ${step}`} value={digest}>
                teacher #{mark}, step {count(step)}, {percent(expectedSparsity)}
                {abandoned && ', abandoned'}
              </option>
            ))}
          </select>
          <small>its state, with masks, LoRA and optimizer</small>
        </label>
        <TextField label="Name" value={name} changed={setName} />
        <TextField label="Tags" help="with commas between" value={tags} changed={setTags} />
      </div>
      <Plan {...planned} />
      <SettingsFields typed={typed} changed={setTyped} parent={inherited} trouble={planned.trouble ?? trouble} />
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
