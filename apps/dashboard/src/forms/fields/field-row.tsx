// One field of a form: its label, its control, its help, and why the server refuses its value.
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

export interface FieldRowProps {
  label: string;
  help?: string;
  /** Why the server refuses the value. */
  wrong?: string | undefined;
  wide?: boolean;
}

interface Described {
  'aria-invalid': boolean;
  'aria-describedby': string | undefined;
}

interface Props extends FieldRowProps {
  /** Makes the control. The attributes tell a screen reader that the value was refused, and why. */
  control: (described: Described) => ComponentChildren;
}

export function FieldRow({ label, help, wrong, wide = false, control }: Props) {
  const id = useId();
  return (
    <label class={`field ${wide ? 'wide' : ''}`}>
      <span>{label}</span>
      {control({ 'aria-invalid': wrong !== undefined, 'aria-describedby': wrong === undefined ? undefined : id })}
      {help !== undefined && <small>{help}</small>}
      {wrong !== undefined && (
        <span class="wrong" id={id}>
          {wrong}
        </span>
      )}
    </label>
  );
}
