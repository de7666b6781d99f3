import { create } from '@bufbuild/protobuf';
import { runService } from '../../api/client.js';
import { DataSourceSchema } from '../../generated/espalier/v1/common_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../../runs/columns.js';
import { tagsIn } from '../description-changes.js';
import { useDraft } from '../form-draft.js';
import { NameAndTags } from './name-and-tags.js';
import { usePlan } from './plan.js';
import { RunForm } from './run-form.js';
import { retyped, settingsOf, type Typed } from './setting-table.js';
import { PathField } from '../fields/path-field.js';

interface LaunchValues {
  model: string;
  train: string;
  validation: string;
  name: string;
  tags: string;
  settings: Typed;
}
const EMPTY: LaunchValues = { model: '', train: '', validation: '', name: '', tags: '', settings: {} };

/**
 * Returns the model and texts of a run, with settings. Other facts about its data, such as the column of the text, are added when the form
 * is sent.
 */
const valuesOf = (run: Run, settings: Typed): LaunchValues => ({
  model: run.modelPath,
  train: run.data?.trainPath ?? '',
  validation: run.data?.validationPath ?? '',
  name: '',
  tags: run.tags.join(', '),
  settings,
});

interface Props {
  /** The run whose values the form begins with. */
  like?: Run;
  /** The settings that the form begins with in place of those of the run. */
  settings?: Typed;
  close: () => void;
}

export function LaunchForm({ like, settings, close }: Props) {
  const draftName = ['launch', ...(like === undefined ? [] : ['like', like.runId]), ...Object.values(settings ?? {})].join(' ');
  const draft = useDraft(draftName, like === undefined ? EMPTY : valuesOf(like, settings ?? retyped(like.settings)));
  const { values } = draft;
  const planned = usePlan(values.model.trim() === '' ? '' : JSON.stringify([values.model, values.settings]), () => ({
    modelPath: values.model,
    settings: settingsOf(values.settings),
  }));
  const launch = async (requestId: string): Promise<string> => {
    const { run } = await runService.launchRun({
      requestId,
      name: values.name,
      modelPath: values.model,
      data: Object.assign(create(DataSourceSchema, like?.data), { trainPath: values.train, validationPath: values.validation }),
      tags: tagsIn(values.tags),
      settings: settingsOf(values.settings),
    });
    return run!.runId;
  };
  return (
    <RunForm
      title={like === undefined ? 'Launch a run' : `Launch a run ${settings === undefined ? 'like' : 'by'} ${nameOf(like)}`}
      button="Launch"
      busy="Launching …"
      draft={draft}
      planned={planned}
      fields={['model_path', 'data.train_path', 'data.validation_path', 'name', 'tags']}
      create={launch}
      close={close}
    >
      {(_wrong, _changed, of) => (
        <>
          <PathField
            wanted="model"
            label="Model"
            help="Hugging Face folder on the server's machine"
            {...of('model', 'model_path')}
            needed
            wide
            isFirst
          />
          <PathField
            wanted="text"
            label="Training text"
            help=".jsonl, .json, .csv or .parquet with a field or column text, .txt, or a folder of them"
            {...of('train', 'data.train_path')}
            needed
            wide
          />
          <PathField
            wanted="text"
            label="Validation text"
            help="without it the run is not evaluated"
            {...of('validation', 'data.validation_path')}
            wide
          />
          <NameAndTags of={of} />
        </>
      )}
    </RunForm>
  );
}
