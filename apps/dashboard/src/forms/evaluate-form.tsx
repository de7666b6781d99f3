// The form for evaluating models: perplexity on a text, or tasks. Each chosen model gets a job of its own.
import { runService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import type { BoundFields } from './fields/bound-field.js';
import { Check, ChoiceField } from './fields/choice-field.js';
import { useDraft } from './form-draft.js';
import {
  evaluationRequests,
  EVALUATION_FIELDS,
  MEASURES,
  NOTHING_CHOSEN,
  withoutFirst,
  type EvaluateValues,
} from './evaluation-requests.js';
import { JobForm } from './job-form.js';
import { exportOptions, INTACT, LAST, type Subject } from './subjects.js';
import { PathField } from './fields/path-field.js';
import { TextField } from './fields/text-field.js';

export function EvaluateForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const draft = useDraft<EvaluateValues>(`evaluate ${run.runId}`, NOTHING_CHOSEN);
  const { values } = draft;
  const start = async (): Promise<void> => {
    const requests = evaluationRequests(run.runId, values);
    let started = 0;
    try {
      for (; started < requests.length; started += 1) await runService.startJob(requests[started]!);
    } catch (error) {
      draft.change(withoutFirst(values, started));
      throw error;
    }
    draft.drop();
  };
  const byTasks = values.measure === 'tasks';
  return (
    <JobForm
      title={`Evaluate ${nameOf(run)}`}
      button="Evaluate"
      draft={draft}
      fields={EVALUATION_FIELDS}
      start={start}
      close={close}
      done={done}
    >
      {(wrong, changed, of) => (
        <>
          <ChoiceField
            label="By"
            value={values.measure}
            options={Object.entries(MEASURES)}
            changed={(measure) => changed('measure', { measure: measure as EvaluateValues['measure'] })}
            wide
            isFirst
          />
          {values.measure === 'text' && (
            <>
              <PathField
                wanted="text"
                label="Text"
                help=".jsonl, .json, .csv, .parquet or .txt, or a folder of them, on the server's machine"
                {...of('dataPath', 'data_path')}
                needed
                wide
              />
              <TextField label="Text column" help="empty: that of the run's own text" {...of('textColumn', 'text_column')} />
            </>
          )}
          {byTasks && <TaskFields of={of} />}
          <Models run={run} values={values} wrong={wrong} changed={changed} />
          {!byTasks && (
            <>
              <TextField label="Window" help="tokens; empty: as the run's own evaluations" {...of('window')} />
              <SingleWeights values={values} of={of} />
            </>
          )}
        </>
      )}
    </JobForm>
  );
}

const TASKS_HELP =
  'with commas between: boolq, piqa, hellaswag, winogrande, arc_easy, arc_challenge, openbookqa (seven: all of these), mmlu, bbh, ' +
  'lambada, wikitext; or files that declare one';

interface PartProps {
  values: EvaluateValues;
  wrong: Readonly<Record<string, string>>;
  changed: (field: string, part: Partial<EvaluateValues>) => void;
  of: BoundFields<EvaluateValues>;
}

function TaskFields({ of }: Pick<PartProps, 'of'>) {
  return (
    <>
      <TextField label="Tasks" help={TASKS_HELP} {...of('tasks')} needed wide />
      <PathField
        wanted="folder"
        label="Folder of their data"
        help="on the server's machine; it holds a folder for each task, with JSON Lines or Parquet"
        {...of('taskData', 'task_data_path')}
        needed
        wide
      />
      <TextField label="Questions of each" help="only the first ones; empty: all" {...of('limit')} />
      <ChoiceField
        label="Products in"
        {...of('dtype', 'compute_dtype')}
        options={[
          ['', 'f32'],
          ['bf16', 'bf16'],
        ]}
      />
    </>
  );
}

function Models({ run, values, wrong, changed }: Omit<PartProps, 'of'> & { run: Run }) {
  const toggle = (subject: Subject, isOn: boolean): void =>
    changed('subjects', { subjects: isOn ? [...values.subjects, subject] : values.subjects.filter((one) => one !== subject) });
  const check = (subject: Subject, words: string) => (
    <Check key={subject} label={words} checked={values.subjects.includes(subject)} changed={(isOn) => toggle(subject, isOn)} />
  );
  return (
    <fieldset class="field wide">
      <legend>Models</legend>
      {check(LAST, 'the last state')}
      {check(INTACT, 'the intact model')}
      {exportOptions(run).map(([subject, words]) => check(subject, `export ${words}`))}
      {wrong['subjects'] !== undefined && (
        <span class="wrong" role="alert">
          {wrong['subjects']}
        </span>
      )}
      <TextField
        label="Teachers"
        help={run.teacherCount === 0 ? 'the run has none' : 'their marks, with commas between: 10, 20'}
        value={values.teachers}
        changed={(teachers) => changed('teachers', { teachers })}
        wrong={wrong['teachers'] ?? wrong['teacher_mark']}
      />
    </fieldset>
  );
}

function SingleWeights({ values, of }: Pick<PartProps, 'values' | 'of'>) {
  return (
    <>
      <ChoiceField
        label="A baseline"
        help="the intact model with single weights set to 0, which makes nothing smaller"
        {...of('importance', 'unstructured.importance')}
        options={[
          ['', 'none'],
          ['magnitude', 'the smallest weights'],
          ['wanda', 'the smallest by wanda'],
        ]}
      />
      {values.importance !== '' && (
        <TextField label="Share of weights" help="0.5 or 50%; empty: the run's target" {...of('sparsity', 'unstructured.sparsity')} />
      )}
    </>
  );
}
