// The form of work that the server does as a job. The job goes on when the form, and the page, are closed.
import type { ComponentChildren } from 'preact';
import { FormDialog, FormRefusal } from '../ui/dialog.js';
import { boundTo, type BoundFields } from './fields/bound-field.js';
import type { Draft } from './form-draft.js';
import { ofPart, type FormTroubles } from './form-troubles.js';
import { useRefusal } from './form-refusal.js';

interface Props<T extends object> {
  title: string;
  button: string;
  draft: Draft<T>;
  /** The form's fields, by the names of the protocol. */
  fields: readonly string[];
  start: () => Promise<void>;
  close: () => void;
  /** Called after the job was started. */
  done: () => void;
  /** The form's content. `changed` is called with the changed field and its value; `of` ties a field to a value. */
  children: (wrong: FormTroubles['byField'], changed: (field: string, part: Partial<T>) => void, of: BoundFields<T>) => ComponentChildren;
}

export function JobForm<T extends object>({ title, button, draft, fields, start, close, done, children }: Props<T>) {
  const { byField, rest, isSending, inside, send, changed: wasChanged } = useRefusal({ fields, read: ofPart });
  const changed = (field: string, part: Partial<T>): void => {
    wasChanged(field);
    draft.change(part);
  };
  const begin = (event: Event): Promise<void> =>
    send(event, async () => {
      await start();
      done();
    });
  return (
    <FormDialog title={title} button={isSending ? 'Starting …' : button} isSending={isSending} send={begin} close={close}>
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        <div class="fields">{children(byField, changed, boundTo({ values: draft.values, wrong: byField, changed }))}</div>
        <p class="soft">It goes on when this page is closed.</p>
      </div>
    </FormDialog>
  );
}
