// Asks before something ends for good, and asks for the reason, which the history keeps.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { troubleOf, type Trouble } from '../api/client.js';
import { FormDialog } from '../ui/dialog.js';
import { TroubleNote } from '../ui/pending.js';
import { TextField } from './fields/text-field.js';

interface Props {
  /** A title like "Cancel NAME". */
  title: string;
  button: string;
  /** Explains what the action means. */
  children: ComponentChildren;
  act: (reason: string) => Promise<unknown>;
  close: () => void;
  /** Called after the action was done. */
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
      <TextField label="Reason, for the history" value={reason} changed={setReason} maxLength={1000} />
      <TroubleNote trouble={trouble} />
    </FormDialog>
  );
}
