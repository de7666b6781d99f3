// Shows texts by several models of a run side by side. Nothing is recorded, and leaving the view ends them.
import { useEffect, useRef, useState } from 'preact/hooks';
import { useCaller, useMay } from '../../api/caller.js';
import { artifactService, isAbort, runService, type Trouble } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import { Check, ChoiceField } from '../../forms/fields/choice-field.js';
import { useDraft } from '../../forms/form-draft.js';
import { FieldProblem, formTroubles, joined, withoutField } from '../../forms/form-troubles.js';
import { formTroubleOf } from '../../forms/run/settings-fields.js';
import {
  exportOptions,
  INTACT,
  LAST,
  subjectRequest,
  subjectWords,
  teacherSubject,
  wholeNumber,
  type Subject,
} from '../../forms/subjects.js';
import { boundTo } from '../../forms/fields/bound-field.js';
import { TextArea, TextFields } from '../../forms/fields/text-field.js';
import { RunService, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count } from '../../ui/format.js';
import { FormRefusal } from '../../ui/dialog.js';
import type { TabProps } from '../tab-props.js';
import { continued, NOTHING_WRITTEN, writtenWords, type Written } from './written-text.js';

interface Values {
  prompt: string;
  isChat: boolean;
  tokens: string;
  temperature: string;
  topP: string;
  seed: string;
  stop: string;
  subjects: [Subject, Subject, Subject];
}
const USUAL: Values = {
  prompt: '',
  isChat: false,
  tokens: '',
  temperature: '',
  topP: '',
  seed: '',
  stop: '',
  subjects: [INTACT, LAST, ''],
};
const FIELDS = ['prompts', 'max_tokens', 'temperature', 'top_p', 'seed', 'stop', 'teacher_mark', 'export_digest'];

interface Column {
  subject: Subject;
  prompt: string;
  written: Written;
}

export function TextsTab({ run }: TabProps) {
  const draft = useDraft(`texts ${run.runId}`, USUAL);
  const [columns, setColumns] = useState<Column[]>([]);
  const [refusal, setRefusal] = useState<Trouble>();
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const caller = useCaller();
  const may = useMay();
  const isWriting = columns.some(({ written }) => written.isWriting);
  const follow = async (index: number, request: Request): Promise<void> => {
    const { signal } = stop.current;
    const change = (next: (before: Written) => Written): void =>
      setColumns((all) => all.map((one, at) => (at === index ? { ...one, written: next(one.written) } : one)));
    try {
      for await (const message of runService.generate(request, { signal })) change((before) => continued(before, message));
      change((before) => ({ ...before, isWriting: false }));
    } catch (error) {
      const trouble = signal.aborted || isAbort(error) ? undefined : formTroubleOf(error);
      change((before) => ({ ...before, isWriting: false, problem: trouble?.message ?? '' }));
      if (trouble !== undefined && trouble.fields.length > 0) setRefusal((before) => joined(before, trouble));
    }
  };
  const write = (event: Event): void => {
    event.preventDefault();
    setRefusal(undefined);
    try {
      const asked = requestOf(run.runId, draft.values);
      const subjects = [...new Set(draft.values.subjects.filter((one) => one !== ''))];
      stop.current = new AbortController();
      setColumns(subjects.map((subject) => ({ subject, prompt: draft.values.prompt, written: NOTHING_WRITTEN })));
      subjects.forEach((subject, index) => void follow(index, { ...asked, ...subjectRequest(subject) }));
    } catch (error) {
      setRefusal(formTroubleOf(error));
    }
  };
  if (run.stateDigest === '')
    return (
      <div class="card empty">
        <h2>No state yet</h2>
        <p>Once the run has a state, its models write texts here, beside the intact one.</p>
      </div>
    );
  if (caller === undefined) return null; // their role is not known yet
  if (!may(RunService.method.generate))
    return (
      <div class="card empty">
        <h2>A viewer can&rsquo;t have texts written</h2>
        <p>The engine writes them, so the role operator is needed.</p>
      </div>
    );
  return (
    <div class="stack">
      <section class="card" aria-label="What is asked">
        <form class="in" onSubmit={write}>
          <Fields
            run={run}
            values={draft.values}
            refusal={refusal}
            changed={(field, part) => {
              setRefusal((before) => withoutField(before, field));
              draft.change(part);
            }}
          />
          <div class="bar">
            {isWriting ? (
              <button type="button" class="danger" onClick={() => stop.current.abort()}>
                Stop
              </button>
            ) : (
              <button class="main" type="submit">
                Write
              </button>
            )}
            <span class="soft">Nothing is recorded.</span>
          </div>
        </form>
      </section>
      {columns.length > 0 && (
        <div class="texts">
          {columns.map((column) => (
            <TextColumn key={column.subject} {...column} />
          ))}
        </div>
      )}
    </div>
  );
}

function TextColumn({ subject, prompt, written }: Column) {
  const words = subjectWords(subjectRequest(subject));
  return (
    <section class="card" aria-label={`Text by ${words}`}>
      <header>
        <h2>{words}</h2>
        <span class="soft num" role="status">
          {writtenWords(written)}
        </span>
      </header>
      <p class="in written">
        <span class="soft">{prompt}</span>
        {written.text}
      </p>
      {written.problem !== '' && <p class="trouble">{written.problem}</p>}
    </section>
  );
}

const TEXTS = [
  ['tokens', 'max_tokens', 'Tokens', 'empty: 128'],
  ['temperature', 'temperature', 'Temperature', 'empty or 0: always the likeliest token'],
  ['topP', 'top_p', 'Top p', 'only the likeliest tokens with this much of the probability'],
  ['seed', 'seed', 'Seed', 'equal seeds give equal texts'],
  ['stop', 'stop', 'Stop text', 'a text ends before it'],
] as const;

interface FieldsProps {
  run: Run;
  values: Values;
  refusal: Trouble | undefined;
  changed: (field: string, part: Partial<Values>) => void;
}

function Fields({ run, values, refusal, changed }: FieldsProps) {
  const { byField: wrong, rest } = formTroubles(refusal, FIELDS);
  return (
    <>
      <FormRefusal words={rest} />
      <div class="fields">
        <TextArea label="Prompt" {...boundTo({ values, wrong, changed })('prompt', 'prompts')} needed maxLength={65_536} />
        <Models run={run} values={values} wrong={wrong['teacher_mark'] ?? wrong['export_digest']} changed={changed} />
        <TextFields rows={TEXTS} values={values} wrong={wrong} changed={changed} />
        <Check
          label="The prompt is a user's message, which the model's chat template writes"
          checked={values.isChat}
          changed={(isChat) => changed('chat', { isChat })}
        />
      </div>
    </>
  );
}

const PLACES = [0, 1, 2] as const;

function Models({ run, values, wrong, changed }: Omit<FieldsProps, 'refusal'> & { wrong: string | undefined }) {
  const { data: teachers } = useLoaded(
    `own teachers ${run.runId}`,
    async (signal) => (await artifactService.listTeachers({ runId: run.runId, includeInherited: true }, { signal })).teachers,
    String(run.teacherCount),
  );
  const options: (readonly [Subject, string])[] = [
    [INTACT, 'the intact model'],
    [LAST, `the last state, step ${count(run.step)}`],
    ...[...(teachers ?? [])].reverse().map(({ mark }): [Subject, string] => [teacherSubject(mark), `teacher #${mark}`]),
    ...exportOptions(run).map(([subject, words]): [Subject, string] => [subject, `export ${words}`]),
  ];
  return (
    <>
      {PLACES.map((place) => (
        <ChoiceField
          key={place}
          label={`Model ${place + 1}`}
          value={values.subjects[place]}
          options={place === 0 ? options : [['', 'none'], ...options]}
          changed={(subject) => {
            const subjects: Values['subjects'] = [...values.subjects];
            subjects[place] = subject;
            changed('teacher_mark', { subjects });
          }}
          wrong={place === 0 ? wrong : undefined}
        />
      ))}
    </>
  );
}

type Request = ReturnType<typeof requestOf> & ReturnType<typeof subjectRequest>;

/** @throws FieldProblem */
function requestOf(runId: string, { prompt, isChat, tokens, temperature, topP, seed, stop }: Values) {
  const number = (text: string, field: string): number => {
    const value = Number(text.trim());
    if (!Number.isFinite(value)) throw new FieldProblem(field, `"${text}" is not a number`);
    return value;
  };
  if (!/^\d*$/.test(seed.trim()) || BigInt(seed.trim()) >= 1n << 64n)
    throw new FieldProblem('seed', `"${seed}" is not a whole number below 2^64`);
  return {
    runId,
    prompts: [prompt],
    chat: isChat,
    maxTokens: wholeNumber(tokens, 'max_tokens'),
    temperature: number(temperature, 'temperature'),
    ...(topP.trim() === '' ? {} : { topP: number(topP, 'top_p') }),
    seed: BigInt(seed.trim()),
    stop: stop === '' ? [] : [stop],
  };
}
