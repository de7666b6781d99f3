import { useId } from 'preact/hooks';

export interface TextFieldProps {
  label: string;
  help?: string;
  value: string;
  changed: (value: string) => void;
  /** Why the server refuses the value. */
  wrong?: string | undefined;
  needed?: boolean;
  wide?: boolean;
  isFirst?: boolean;
}

export function TextField({ label, help, value, changed, wrong, needed = false, wide = false, isFirst = false }: TextFieldProps) {
  const id = useId();
  return (
    <label class={`field ${wide ? 'wide' : ''}`}>
      <span>{label}</span>
      <input
        value={value}
        required={needed}
        autofocus={isFirst}
        aria-invalid={wrong !== undefined}
        aria-describedby={wrong === undefined ? undefined : id}
        onInput={({ currentTarget }) => changed(currentTarget.value)}
      />
      {help !== undefined && <small>{help}</small>}
      {wrong !== undefined && (
        <span class="wrong" id={id}>
          {wrong}
        </span>
      )}
    </label>
  );
}

/** A text field of a form: its name among the values, its name in the protocol, its label, its help. */
export type TextRow<Name extends string> = readonly [name: Name, field: string, label: string, help: string];

interface RowsProps<Name extends string> {
  rows: readonly TextRow<Name>[];
  values: Readonly<Record<Name, string>>;
  /** Why the server refuses a field, by the names of the protocol. */
  wrong: Readonly<Record<string, string>>;
  changed: (field: string, part: Partial<Record<Name, string>>) => void;
}

export function TextFields<Name extends string>({ rows, values, wrong, changed }: RowsProps<Name>) {
  return (
    <>
      {rows.map(([name, field, label, help]) => (
        <TextField
          key={name}
          label={label}
          help={help}
          value={values[name]}
          changed={(text) => changed(field, { [name]: text } as Partial<Record<Name, string>>)}
          wrong={wrong[field]}
        />
      ))}
    </>
  );
}
