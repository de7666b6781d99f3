// Asks before something ends for good, and for the reason that the history keeps.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { troubleOf, type Trouble } from '../api/client.js';
import { FormDialog, TroubleNote } from '../ui/parts.js';

interface Props {
  /** "Cancel NAME" */
  title: string;
  button: string;
  /** Its meaning, in words. */
  children: ComponentChildren;
  act: (reason: string) => Promise<unknown>;
  close: () => void;
  /** After it was done. */
  done: () => void;
}

export function ReasonForm({ title, button, children, act, close, done }: Props) {
  const [reason, setReason] = useState('');
  const [trouble, setTrouble] = useState<Trouble>();
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await act(reason);
      done();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <FormDialog title={title} heading={`${title}?`} button={button} isDanger send={send} close={close}>
      <p>{children}</p>
      <br />
      <label class="field">
        <span>Reason, for the history</span>
        <input value={reason} maxLength={1000} onInput={({ currentTarget }) => setReason(currentTarget.value)} />
      </label>
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
