// The form for measuring how fast a pruned model generates, in turns with the intact model.
import { EXPORT_FORMAT_NAMES } from '../../../../libs/comparison/src/index.js';
import { runService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { ChoiceField } from './fields/choice-field.js';
import { useDraft } from './form-draft.js';
import { StateField } from './export-form.js';
import { JobForm } from './job-form.js';
import { exportOptions, LAST, subjectRequest, wholeNumber, type Subject } from './subjects.js';
import { TextFields } from './fields/text-field.js';

interface Values {
  from: Subject;
  dtype: string;
  promptTokens: string;
  tokens: string;
  sequences: string;
  rounds: string;
  format: string;
}
const USUAL: Values = { from: LAST, dtype: '', promptTokens: '', tokens: '', sequences: '', rounds: '', format: '' };
const NUMBERS = [
  ['promptTokens', 'prompt_tokens', 'Tokens of a prompt', 'empty: 128'],
  ['tokens', 'tokens', 'Tokens after it', 'empty: 32'],
  ['sequences', 'sequences', 'Texts at once', '1 to 16; empty: 1'],
  ['rounds', 'rounds', 'Rounds', 'empty: until the result is certain'],
] as const;

export function BenchForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const draft = useDraft(`bench ${run.runId}`, USUAL);
  const { values } = draft;
  const start = async (): Promise<void> => {
    const { teacherMark, exportDigest } = subjectRequest(values.from);
    const numbers = NUMBERS.map(([name, field]) => [name, wholeNumber(values[name], field)]);
    const value = {
      runId: run.runId,
      exportDigest,
      ...(teacherMark === undefined ? {} : { teacherMark }),
      computeDtype: values.dtype,
      format: exportDigest === '' ? values.format : '',
      ...(Object.fromEntries(numbers) as Record<(typeof NUMBERS)[number][0], number>),
    };
    await runService.startJob({ work: { case: 'bench', value } });
    draft.drop();
  };
  return (
    <JobForm
      title={`Measure the speed of ${nameOf(run)}`}
      button="Measure"
      draft={draft}
      fields={['teacher_mark', 'export_digest', 'compute_dtype', 'format', ...NUMBERS.map(([, field]) => field)]}
      start={start}
      close={close}
      done={done}
    >
      {(wrong, changed, of) => (
        <>
          <StateField
            run={run}
            value={values.from}
            changed={(from) => changed('teacher_mark', { from })}
            wrong={wrong['teacher_mark'] ?? wrong['export_digest']}
            more={exportOptions(run).map(([subject, words]) => [subject, `export ${words}`] as const)}
          />
          <ChoiceField
            label="Both models in"
            {...of('dtype', 'compute_dtype')}
            options={[
              ['', 'as the original'],
              ['bf16', 'bf16'],
              ['f32', 'f32'],
            ]}
          />
          <ChoiceField
            label="Sizes of an export as"
            {...of('format')}
            options={EXPORT_FORMAT_NAMES.map((one): [string, string] => [one === 'hf-remote' ? '' : one, one])}
          />
          <TextFields rows={NUMBERS} values={values} wrong={wrong} changed={changed} />
        </>
      )}
    </JobForm>
  );
}
