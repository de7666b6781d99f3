// The form for a run's name, tags and note.
import { useState } from 'preact/hooks';
import { runService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { FormDialog, FormRefusal } from '../ui/dialog.js';
import { useRefusal } from './form-refusal.js';
import { changedWords, tagsIn } from './description-changes.js';
import { TextArea, TextField } from './fields/text-field.js';

const FIELDS = ['name', 'add_tags', 'remove_tags', 'note'];

export function DescribeForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const [values, setValues] = useState({ name: run.name, tags: run.tags.join(', '), note: run.note });
  const { byField, rest, isSending, inside, send, changed } = useRefusal({ fields: FIELDS });
  const change = (part: Partial<typeof values>, ...fields: string[]): void => {
    for (const field of fields) changed(field);
    setValues({ ...values, ...part });
  };
  const save = (event: Event): Promise<void> =>
    send(event, async () => {
      await runService.describeRun({ runId: run.runId, ...changedWords(run, { ...values, tags: tagsIn(values.tags) }) });
      done();
    });
  return (
    <FormDialog title={`Name, tags and note of ${nameOf(run)}`} button="Save" isSending={isSending} send={save} close={close}>
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        <div class="fields">
          <TextField label="Name" value={values.name} changed={(name) => change({ name }, 'name')} wrong={byField['name']} wide isFirst />
          <TextField
            label="Tags"
            help="with commas between"
            value={values.tags}
            changed={(tags) => change({ tags }, 'add_tags', 'remove_tags')}
            wrong={byField['add_tags'] ?? byField['remove_tags']}
            wide
          />
          <TextArea
            label="Note"
            value={values.note}
            changed={(note) => change({ note }, 'note')}
            wrong={byField['note']}
            maxLength={2000}
          />
        </div>
      </div>
    </FormDialog>
  );
}
