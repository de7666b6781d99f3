// The form of a new run, launched or forked: its fields, the plan, the settings, and the server's refusal.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { newRequestId } from '../../api/client.js';
import { boundTo, type BoundFields } from '../fields/bound-field.js';
import { FormDialog, FormRefusal } from '../../ui/dialog.js';
import { go } from '../../ui/router.js';
import type { Draft } from '../form-draft.js';
import type { FormTroubles } from '../form-troubles.js';
import { Plan } from './plan.js';
import { useRefusal } from '../form-refusal.js';
import type { Planned } from './plan-words.js';
import { SETTING_FIELDS, wordsOf, type Typed } from './setting-table.js';
import { SettingsFields } from './settings-fields.js';

export interface RunFormValues {
  settings: Typed;
}

interface Props<T extends RunFormValues> {
  title: string;
  button: string;
  busy: string;
  draft: Draft<T>;
  planned: Planned;
  /** The settings of the parent as people read them, in the form of a fork. */
  parent?: Record<string, string>;
  /** The fields of the form besides the settings, by the names of the protocol. */
  fields: readonly string[];
  /** Returns the id of the new run. */
  create: (requestId: string) => Promise<string>;
  close: () => void;
  /** Makes the fields besides the settings. `changed` is called with the changed field and its value; `of` ties a field to a value. */
  children: (wrong: FormTroubles['byField'], changed: (field: string, part: Partial<T>) => void, of: BoundFields<T>) => ComponentChildren;
}

export function RunForm<T extends RunFormValues>(props: Props<T>) {
  const { title, button, busy, draft, planned, parent, fields, create, close, children } = props;
  const [requestId, setRequestId] = useState(newRequestId);
  const {
    byField,
    rest,
    isSending,
    inside,
    send,
    changed: wasChanged,
  } = useRefusal({
    fields: [...fields, ...SETTING_FIELDS.map(({ name }) => `settings.${name}`)],
    before: planned.trouble,
    // The same request sent twice makes one run, which helps if no answer came. After a refusal the next request is a new one.
    refused: ({ isPassing }) => !isPassing && setRequestId(newRequestId()),
  });
  const changed = (field: string, part: Partial<T>): void => {
    wasChanged(field);
    draft.change(part);
  };
  const begin = (event: Event): Promise<void> =>
    send(event, async () => {
      const runId = await create(requestId);
      draft.drop();
      close();
      go(`/runs/${runId}`);
    });
  return (
    <FormDialog title={title} button={isSending ? busy : button} isSending={isSending} send={begin} close={close}>
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
        <div class="fields">{children(byField, changed, boundTo({ values: draft.values, wrong: byField, changed }))}</div>
        <Plan planned={planned} />
        <SettingsFields
          typed={draft.values.settings}
          changed={(name, settings) => changed(`settings.${name}`, { settings } as Partial<T>)}
          {...(parent === undefined ? {} : { fork: { parent, planned: wordsOf(planned.plan?.settings) } })}
          wrong={byField}
        />
      </div>
    </FormDialog>
  );
}
