import { useState } from 'preact/hooks';
import { newRequestId, runService, troubleOf, type Trouble } from '../api/client.js';
import { FormDialog, TroubleNote } from '../ui/parts.js';
import { go } from '../ui/router.js';
import { Plan, usePlan } from './plan.js';
import { settingsOf, SettingsFields, type Typed } from './settings-fields.js';
import { TextField } from './text-field.js';

export function LaunchForm({ close }: { close: () => void }) {
  const [texts, setTexts] = useState({ name: '', model: '', train: '', validation: '', tags: '' });
  const [typed, setTyped] = useState<Typed>({});
  const [trouble, setTrouble] = useState<Trouble>();
  const [isSending, setSending] = useState(false);
  const [requestId] = useState(newRequestId);
  const planned = usePlan(texts.model, JSON.stringify(typed), () => settingsOf(typed));
  const text = (name: keyof typeof texts) => (value: string) => setTexts({ ...texts, [name]: value });
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    try {
      const { run } = await runService.launchRun({
        requestId,
        name: texts.name,
        modelPath: texts.model,
        data: { trainPath: texts.train, validationPath: texts.validation },
        tags: texts.tags.split(/[\s,]+/).filter(Boolean),
        settings: settingsOf(typed),
      });
      close();
      go(`/runs/${run!.runId}`);
    } catch (error) {
      setTrouble(troubleOf(error));
      setSending(false);
    }
  };
  return (
    <FormDialog title="Launch a run" button={isSending ? 'Launching …' : 'Launch'} isSending={isSending} send={send} close={close}>
      <div class="fields">
        <TextField
          label="Model"
          help="Hugging Face folder on the server's machine"
          value={texts.model}
          changed={text('model')}
          needed
          wide
        />
        <TextField
          label="Training text"
          help=".jsonl, .json, .csv or .parquet with a field or column text, .txt, or a folder of them"
          value={texts.train}
          changed={text('train')}
          needed
          wide
        />
        <TextField
          label="Validation text"
          help="without it the run is not evaluated"
          value={texts.validation}
          changed={text('validation')}
          wide
        />
        <TextField label="Name" value={texts.name} changed={text('name')} />
        <TextField label="Tags" help="with commas between" value={texts.tags} changed={text('tags')} />
      </div>
      <Plan {...planned} />
      <SettingsFields typed={typed} changed={setTyped} trouble={planned.trouble ?? trouble} />
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
