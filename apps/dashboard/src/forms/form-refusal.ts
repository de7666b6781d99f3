// Handles the refusal of a form: it shows the server's words beside the fields, and moves the focus to the first of them.
import { useEffect, useRef, useState, type MutableRef } from 'preact/hooks';
import type { Trouble } from '../api/client.js';
import { formTroubles, joined, withoutField, type FormTroubles } from './form-troubles.js';
import { formTroubleOf } from './run/settings-fields.js';

export interface Refusal extends FormTroubles {
  isSending: boolean;
  /** The reference to set on the element around the fields. */
  inside: MutableRef<HTMLDivElement | null>;
  /** Sends the form by `work`. If the server refuses it, the refusal is shown and its first field gets the focus. */
  send: (event: Event, work: () => Promise<void>) => Promise<void>;
  /** Tells that a value was changed, so that its refusal disappears. */
  changed: (field: string) => void;
}

interface Options {
  /** The fields of the form, by the names of the protocol. */
  fields: readonly string[];
  /** A problem that is known before the form is sent. */
  before?: Trouble | undefined;
  /** Converts field names to the form's, if the form's fields are a part of the request. */
  read?: (trouble: Trouble) => Trouble;
  refused?: (trouble: Trouble) => void;
}

export function useRefusal({ fields, before, read = (trouble) => trouble, refused }: Options): Refusal {
  const [refusal, setRefusal] = useState<Trouble>();
  const [refusals, setRefusals] = useState(0);
  const [isSending, setSending] = useState(false);
  const inside = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (refusals === 0) return;
    const within = inside.current;
    const first = within?.querySelector<HTMLElement>('[aria-invalid="true"]') ?? within?.querySelector<HTMLElement>('.trouble');
    first?.closest('details')?.setAttribute('open', '');
    first?.scrollIntoView({ block: 'center' });
    first?.focus();
  }, [refusals]);
  const send = async (event: Event, work: () => Promise<void>): Promise<void> => {
    event.preventDefault();
    setSending(true);
    setRefusal(undefined);
    try {
      await work();
    } catch (error) {
      const trouble = read(formTroubleOf(error));
      setRefusal(trouble);
      setRefusals((count) => count + 1);
      refused?.(trouble);
    } finally {
      setSending(false);
    }
  };
  return {
    ...formTroubles(joined(refusal, before), fields),
    isSending,
    inside,
    send,
    changed: (field) => setRefusal((one) => withoutField(one, field)),
  };
}
