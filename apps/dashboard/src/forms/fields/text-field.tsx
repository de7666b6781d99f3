import { boundTo } from './bound-field.js';
import { FieldRow, type FieldRowProps } from './field-row.js';

export interface TextFieldProps extends FieldRowProps {
  value: string;
  changed: (value: string) => void;
  needed?: boolean;
  isFirst?: boolean;
  maxLength?: number;
  placeholder?: string;
  inputMode?: 'text' | 'decimal';
}

export function TextField({ value, changed, needed = false, isFirst = false, maxLength, placeholder, inputMode, ...row }: TextFieldProps) {
  return (
    <FieldRow
      {...row}
      control={(described) => (
        <input
          value={value}
          required={needed}
          autofocus={isFirst}
          maxLength={maxLength}
          placeholder={placeholder}
          inputMode={inputMode}
          {...described}
          onInput={({ currentTarget }) => changed(currentTarget.value)}
        />
      )}
    />
  );
}

interface TextAreaProps extends FieldRowProps {
  value: string;
  changed: (value: string) => void;
  needed?: boolean;
  maxLength: number;
}

/** A field for a text of several lines, as wide as the form. */
export function TextArea({ value, changed, needed = false, maxLength, ...row }: TextAreaProps) {
  return (
    <FieldRow
      {...row}
      wide
      control={(described) => (
        <textarea
          rows={4}
          required={needed}
          maxLength={maxLength}
          value={value}
          {...described}
          onInput={({ currentTarget }) => changed(currentTarget.value)}
        />
      )}
    />
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

export function TextFields<Name extends string>({ rows, ...form }: RowsProps<Name>) {
  const of = boundTo<Readonly<Record<Name, string>>>(form);
  return (
    <>
      {rows.map(([name, field, label, help]) => (
        <TextField key={name} label={label} help={help} {...of(name, field)} />
      ))}
    </>
  );
}
