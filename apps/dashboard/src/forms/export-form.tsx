// The form for exporting a pruned model for other programs: the last state or a teacher, in the program's format.
import { EXPORT_FORMATS } from '../../../../libs/comparison/src/index.js';
import { runService, artifactService } from '../api/client.js';
import { useLoaded } from '../api/loaded-data.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { count } from '../ui/format.js';
import { Check, ChoiceField } from './fields/choice-field.js';
import { useDraft } from './form-draft.js';
import { JobForm } from './job-form.js';
import { LAST, subjectRequest, teacherSubject, wholeNumber, type Subject } from './subjects.js';
import { TextField } from './fields/text-field.js';

const FORMATS = Object.entries(EXPORT_FORMATS).map(([name, words]): [string, string] => [name, `${name}: ${words}`]);
const FORMS: [string, string][] = [
  ['', 'as usual for the model'],
  ['compacted', 'compacted: each layer as wide as its own'],
  ['padded', 'padded: all layers alike'],
  ['masked', 'masked: the full size, with zeros'],
];
const TYPES = ['bf16', 'f16', 'f32'];
const GGUF_TYPES = [...TYPES, 'q8_0', 'q6_k', 'q5_k_m', 'q5_k_s', 'q4_k_m', 'q4_k_s', 'q3_k_m'];

interface Values {
  from: Subject;
  format: string;
  form: string;
  dtype: string;
  multipleOf: string;
  skipProof: boolean;
}
const USUAL: Values = { from: LAST, format: 'hf-remote', form: '', dtype: '', multipleOf: '', skipProof: false };

export function ExportForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const draft = useDraft(`export ${run.runId}`, USUAL);
  const { from, format, form, dtype, multipleOf, skipProof } = draft.values;
  const isGguf = format === 'gguf';
  const start = async (): Promise<void> => {
    const { teacherMark } = subjectRequest(from);
    const value = {
      runId: run.runId,
      ...(teacherMark === undefined ? {} : { teacherMark }),
      format,
      form: isGguf ? form : '',
      dtype,
      multipleOf: wholeNumber(multipleOf, 'multiple_of'),
      skipProof,
    };
    await runService.startJob({ work: { case: 'export', value } });
    draft.drop();
  };
  return (
    <JobForm
      title={`Export ${nameOf(run)}`}
      button="Export"
      draft={draft}
      fields={['format', 'form', 'dtype', 'multiple_of', 'teacher_mark']}
      start={start}
      close={close}
      done={done}
    >
      {(wrong, changed) => (
        <>
          <StateField run={run} value={from} changed={(next) => changed('teacher_mark', { from: next })} wrong={wrong['teacher_mark']} />
          <ChoiceField
            label="Format"
            value={format}
            options={FORMATS}
            changed={(next) => changed('format', { format: next, form: '', dtype: '' })}
            wrong={wrong['format']}
            wide
          />
          {isGguf && (
            <ChoiceField
              label="Shapes"
              value={form}
              options={FORMS}
              changed={(next) => changed('form', { form: next })}
              wrong={wrong['form']}
            />
          )}
          <ChoiceField
            label="Stored as"
            help={isGguf ? "llama.cpp's own quantizer makes the q_k types, where the server has it" : undefined!}
            value={dtype}
            options={[['', 'as the original'], ...(isGguf ? GGUF_TYPES : TYPES).map((one): [string, string] => [one, one])]}
            changed={(next) => changed('dtype', { dtype: next })}
            wrong={wrong['dtype']}
          />
          <TextField
            label="Multiple of"
            help="widths are filled up with zeros to a multiple of it; empty: 1, for q8_0 32, for q4_k_m 256"
            value={multipleOf}
            changed={(next) => changed('multiple_of', { multipleOf: next })}
            wrong={wrong['multiple_of']}
          />
          <Check
            label="Prove it: have other programs evaluate the export beside the masked student"
            checked={!skipProof}
            changed={(isProved) => changed('skip_proof', { skipProof: !isProved })}
          />
        </>
      )}
    </JobForm>
  );
}

interface StateProps {
  run: Run;
  value: Subject;
  changed: (value: Subject) => void;
  wrong: string | undefined;
  more?: readonly (readonly [Subject, string])[];
}

/** Offers the last state and the teachers that still exist, the newest first. */
export function StateField({ run, value, changed, wrong, more = [] }: StateProps) {
  const { data: teachers } = useLoaded(
    `own teachers ${run.runId}`,
    async (signal) => (await artifactService.listTeachers({ runId: run.runId, includeInherited: true }, { signal })).teachers,
  );
  const marks = [...(teachers ?? [])].reverse();
  return (
    <ChoiceField
      label="Model"
      value={value}
      options={[
        [LAST, `the last state, step ${count(run.step)}`],
        ...marks.map(({ mark, step }): [Subject, string] => [teacherSubject(mark), `teacher #${mark}, step ${count(step)}`]),
        ...more,
      ]}
      changed={changed}
      wrong={wrong}
      wide
      isFirst
    />
  );
}
