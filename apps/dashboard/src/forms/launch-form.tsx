import { runService } from '../api/client.js';
import { useDraft } from './draft.js';
import { usePlan } from './plan.js';
import { RunForm } from './run-form.js';
import { settingsOf, type Typed } from './settings-fields.js';
import { TextField } from './text-field.js';

export interface LaunchValues {
  model: string;
  train: string;
  validation: string;
  name: string;
  tags: string;
  settings: Typed;
}
const EMPTY: LaunchValues = { model: '', train: '', validation: '', name: '', tags: '', settings: {} };

/** @param values to begin with, in place of a draft: those of a run that is launched once more */
export function LaunchForm({ values: given, close }: { values?: LaunchValues; close: () => void }) {
  const draft = useDraft(given === undefined ? 'launch' : `launch like ${given.name}`, given ?? EMPTY);
  const { values } = draft;
  const planned = usePlan(values.model, JSON.stringify(values.settings), () => settingsOf(values.settings));
  const create = async (requestId: string): Promise<string> => {
    const { run } = await runService.launchRun({
      requestId,
      name: values.name,
      modelPath: values.model,
      data: { trainPath: values.train, validationPath: values.validation },
      tags: values.tags.split(/[\s,]+/).filter(Boolean),
      settings: settingsOf(values.settings),
    });
    return run!.runId;
  };
  return (
    <RunForm
      title="Launch a run"
      button="Launch"
      busy="Launching …"
      draft={draft}
      planned={planned}
      fields={['model_path', 'data.train_path', 'data.validation_path', 'name', 'tags']}
      create={create}
      close={close}
    >
      {(wrong, changed) => (
        <>
          <TextField
            label="Model"
            help="Hugging Face folder on the server's machine"
            value={values.model}
            changed={(model) => changed('model_path', { model })}
            wrong={wrong['model_path']}
            needed
            wide
            isFirst
          />
          <TextField
            label="Training text"
            help=".jsonl, .json, .csv or .parquet with a field or column text, .txt, or a folder of them"
            value={values.train}
            changed={(train) => changed('data.train_path', { train })}
            wrong={wrong['data.train_path']}
            needed
            wide
          />
          <TextField
            label="Validation text"
            help="without it the run is not evaluated"
            value={values.validation}
            changed={(validation) => changed('data.validation_path', { validation })}
            wrong={wrong['data.validation_path']}
            wide
          />
          <TextField label="Name" value={values.name} changed={(name) => changed('name', { name })} wrong={wrong['name']} />
          <TextField
            label="Tags"
            help="with commas between"
            value={values.tags}
            changed={(tags) => changed('tags', { tags })}
            wrong={wrong['tags']}
          />
        </>
      )}
    </RunForm>
  );
}
