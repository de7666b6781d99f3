// Dialogs, with and without a form.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog ref={element} aria-label={title} onClose={close} onCancel={close}>
      {children}
    </dialog>
  );
}

/** The words of a refusal that belong to no field of a form. @param isTarget the form moves the focus here */
export function FormRefusal({ words, isTarget = false }: { words: string; isTarget?: boolean }) {
  if (words === '') return null;
  return (
    <p class="trouble" role="alert" tabIndex={isTarget ? -1 : undefined}>
      {words}
    </p>
  );
}

interface FormDialogProps {
  title: string;
  /** The heading, if it asks more than the title says. */
  heading?: string;
  button: string;
  isDanger?: boolean;
  isSending?: boolean;
  send: (event: Event) => Promise<void>;
  close: () => void;
  children: ComponentChildren;
}

/** A dialog with a form: a heading, fields, a button that closes it, and a button that sends it. */
export function FormDialog({ title, heading = title, button, isDanger, isSending = false, send, close, children }: FormDialogProps) {
  return (
    <Dialog title={title} close={close}>
      <form onSubmit={(event) => void send(event)}>
        <header>
          <h2>{heading}</h2>
        </header>
        <div class="in">{children}</div>
        <footer>
          <button type="button" onClick={close}>
            Back
          </button>
          <button class={isDanger === true ? 'danger' : 'main'} type="submit" disabled={isSending}>
            {button}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
