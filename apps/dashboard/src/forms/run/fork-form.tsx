// The form for a new run that starts from a teacher or the last state of another run. The parent does not change.
import { artifactService, runService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../../runs/columns.js';
import { count } from '../../ui/format.js';
import { tagsIn } from '../description-changes.js';
import { useDraft } from '../form-draft.js';
import { FieldRow } from '../fields/field-row.js';
import { NameAndTags } from './name-and-tags.js';
import { usePlan } from './plan.js';
import { RunForm } from './run-form.js';
import { settingsOf, wordsOf, type Typed } from './setting-table.js';
import { teacherOptions } from './teacher-options.js';

const LAST = 'last';

interface Props {
  parent: Run;
  /** The state of the teacher to fork at; null: the last state. */
  stateDigest: string | null;
  close: () => void;
}

interface Values {
  name: string;
  tags: string;
  settings: Typed;
  from: string;
}

export function ForkForm({ parent, stateDigest, close }: Props) {
  const draft = useDraft<Values>(`fork ${parent.runId} ${stateDigest ?? LAST}`, {
    from: stateDigest ?? LAST,
    name: '',
    tags: '',
    settings: {},
  });
  const { values } = draft;
  const { data: teachers } = useLoaded(`fork ${parent.runId}`, async (signal) => {
    const asked = { runId: parent.runId, includeAbandoned: true, includeInherited: true };
    return (await artifactService.listTeachers(asked, { signal })).teachers;
  });
  const fork = () => ({
    parentRunId: parent.runId,
    from: values.from === LAST ? { case: 'lastState' as const, value: true } : { case: 'stateDigest' as const, value: values.from },
    settings: settingsOf(values.settings),
  });
  const planned = usePlan(JSON.stringify([values.from, values.settings]), fork);
  const create = async (requestId: string): Promise<string> => {
    const { run } = await runService.forkRun({ ...fork(), requestId, name: values.name, tags: tagsIn(values.tags) });
    return run!.runId;
  };
  return (
    <RunForm
      title={`Fork ${nameOf(parent)}`}
      button="Fork"
      busy="Forking …"
      draft={draft}
      planned={planned}
      parent={wordsOf(parent.settings)}
      fields={['name', 'tags', 'from', 'state_digest']}
      create={create}
      close={close}
    >
      {(wrong, changed, of) => (
        <>
          <FieldRow
            label="From"
            help="its state, with masks, LoRA and optimizer"
            wrong={wrong['state_digest']}
            control={(described) => (
              <select
                value={values.from}
                autofocus
                {...described}
                onChange={({ currentTarget }) => changed('from', { from: currentTarget.value })}
              >
                <option value={LAST}>the last state, step {count(parent.step)}</option>
                {teacherOptions(parent, teachers, ', abandoned')}
              </select>
            )}
          />
          <NameAndTags of={of} />
        </>
      )}
    </RunForm>
  );
}
