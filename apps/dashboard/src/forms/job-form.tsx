// The form of something that the server does as a job: it goes on when the form, and the page, are closed.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Trouble } from '../api/client.js';
import { FormDialog, FormRefusal } from '../ui/parts.js';
import type { Draft } from './draft.js';
import { formTroubles, ofPart, withoutField, type FormTroubles } from './form-troubles.js';
import { formTroubleOf } from './settings-fields.js';

interface Props<T extends object> {
  title: string;
  button: string;
  draft: Draft<T>;
  /** The fields that it has, by the names of the protocol. */
  fields: readonly string[];
  start: () => Promise<void>;
  close: () => void;
  /** After it was started. */
  done: () => void;
  /** The fields. `changed` is told which one a value belongs to. */
  children: (wrong: FormTroubles['byField'], changed: (field: string, part: Partial<T>) => void) => ComponentChildren;
}

export function JobForm<T extends object>({ title, button, draft, fields, start, close, done, children }: Props<T>) {
  const [refusal, setRefusal] = useState<Trouble>();
  const [refusals, setRefusals] = useState(0);
  const [isSending, setSending] = useState(false);
  const inside = useRef<HTMLDivElement>(null);
  const { byField, rest } = formTroubles(refusal, fields);
  useEffect(() => {
    if (refusals === 0) return;
    const first = inside.current?.querySelector<HTMLElement>('[aria-invalid="true"], .trouble');
    first?.scrollIntoView({ block: 'center' });
    first?.focus();
  }, [refusals]);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    setRefusal(undefined);
    try {
      await start();
      done();
    } catch (error) {
      setRefusal(ofPart(formTroubleOf(error)));
      setRefusals((before) => before + 1);
      setSending(false);
    }
  };
  const changed = (field: string, part: Partial<T>): void => {
    setRefusal((before) => withoutField(before, field));
    draft.change(part);
  };
  return (
    <FormDialog title={title} button={isSending ? 'Starting …' : button} isSending={isSending} send={send} close={close}>
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        <div class="fields">{children(byField, changed)}</div>
        <p class="soft">It goes on when this page is closed.</p>
      </div>
    </FormDialog>
  );
}
