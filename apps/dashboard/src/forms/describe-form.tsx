// The words that people have for a run: its name, tags and note.
import { useState } from 'preact/hooks';
import { runService, type Trouble } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { FormDialog, FormRefusal } from '../ui/parts.js';
import { formTroubles } from './form-troubles.js';
import { formTroubleOf } from './settings-fields.js';
import { changedWords, tagsIn } from './described.js';
import { TextField } from './text-field.js';

const FIELDS = ['name', 'add_tags', 'remove_tags', 'note'];

export function DescribeForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const [values, setValues] = useState({ name: run.name, tags: run.tags.join(', '), note: run.note });
  const [trouble, setTrouble] = useState<Trouble>();
  const { byField, rest } = formTroubles(trouble, FIELDS);
  const change = (part: Partial<typeof values>): void => {
    setTrouble(undefined);
    setValues({ ...values, ...part });
  };
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await runService.describeRun({ runId: run.runId, ...changedWords(run, { ...values, tags: tagsIn(values.tags) }) });
      done();
    } catch (error) {
      setTrouble(formTroubleOf(error));
    }
  };
  return (
    <FormDialog title={`Name, tags and note of ${nameOf(run)}`} button="Save" send={send} close={close}>
      <FormRefusal words={rest} />
      <div class="fields">
        <TextField label="Name" value={values.name} changed={(name) => change({ name })} wrong={byField['name']} wide isFirst />
        <TextField
          label="Tags"
          help="with commas between"
          value={values.tags}
          changed={(tags) => change({ tags })}
          wrong={byField['add_tags'] ?? byField['remove_tags']}
          wide
        />
        <label class="field wide">
          <span>Note</span>
          <textarea rows={4} maxLength={2000} value={values.note} onInput={({ currentTarget }) => change({ note: currentTarget.value })} />
          {byField['note'] !== undefined && <span class="wrong">{byField['note']}</span>}
        </label>
      </div>
    </FormDialog>
  );
}
