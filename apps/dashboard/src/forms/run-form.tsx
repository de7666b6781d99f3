// The form of a new run, launched or forked: its fields, the plan, the settings, and the server's refusal.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { newRequestId, type Trouble } from '../api/client.js';
import { FormDialog, FormRefusal } from '../ui/parts.js';
import { go } from '../ui/router.js';
import type { Draft } from './draft.js';
import { formTroubles, joined, withoutField, type FormTroubles } from './form-troubles.js';
import { Plan, type Planned } from './plan.js';
import type { ForkStart } from './plan-words.js';
import { SETTING_FIELDS, type Typed } from './setting-table.js';
import { formTroubleOf, SettingsFields } from './settings-fields.js';

export interface RunFormValues {
  settings: Typed;
}

interface Props<T extends RunFormValues> {
  title: string;
  button: string;
  busy: string;
  draft: Draft<T>;
  planned: Planned;
  start?: ForkStart | null;
  parent?: Record<string, string>;
  /** The fields that it has beside the settings, by the names of the protocol. */
  fields: readonly string[];
  /** Returns the id of the new run. */
  create: (requestId: string) => Promise<string>;
  close: () => void;
  /** Those fields. `changed` is told which one a value belongs to. */
  children: (wrong: FormTroubles['byField'], changed: (field: string, part: Partial<T>) => void) => ComponentChildren;
}

export function RunForm<T extends RunFormValues>(props: Props<T>) {
  const { title, button, busy, draft, planned, start = null, parent, fields, create, close, children } = props;
  const [refusal, setRefusal] = useState<Trouble>();
  const [refusals, setRefusals] = useState(0);
  const [isSending, setSending] = useState(false);
  const [requestId, setRequestId] = useState(newRequestId);
  const inside = useRef<HTMLDivElement>(null);
  const known = [...fields, ...SETTING_FIELDS.map(({ name }) => `settings.${name}`)];
  const { byField, rest } = formTroubles(joined(refusal, planned.trouble), known);
  const changed = (field: string, part: Partial<T>): void => {
    setRefusal((before) => withoutField(before, field));
    draft.change(part);
  };
  useEffect(() => {
    if (refusals === 0) return;
    const first =
      inside.current?.querySelector<HTMLElement>('[aria-invalid="true"]') ?? inside.current?.querySelector<HTMLElement>('.trouble');
    first?.closest('details')?.setAttribute('open', '');
    first?.scrollIntoView({ block: 'center' });
    first?.focus();
  }, [refusals]);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    setRefusal(undefined);
    try {
      const runId = await create(requestId);
      draft.drop();
      close();
      go(`/runs/${runId}`);
    } catch (error) {
      const trouble = formTroubleOf(error);
      setRefusal(trouble);
      setRefusals((before) => before + 1);
      // The same request twice is one run, which helps where no answer came; after a refusal it is another one.
      if (!trouble.isPassing) setRequestId(newRequestId());
      setSending(false);
    }
  };
  return (
    <FormDialog title={title} button={isSending ? busy : button} isSending={isSending} send={send} close={close}>
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        {draft.isOld && (
          <p class="note">
            This is what you had filled in before.{' '}
            <button type="button" class="plain" onClick={draft.drop}>
              Start over
            </button>
          </p>
        )}
        <div class="fields">{children(byField, changed)}</div>
        <Plan plan={planned.plan} start={start} />
        <SettingsFields
          typed={draft.values.settings}
          changed={(name, settings) => changed(`settings.${name}`, { settings } as Partial<T>)}
          {...(parent === undefined ? {} : { parent })}
          wrong={byField}
        />
      </div>
    </FormDialog>
  );
}
