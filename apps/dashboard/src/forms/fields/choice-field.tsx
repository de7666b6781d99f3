import { FieldRow, type FieldRowProps } from './field-row.js';

interface Props extends FieldRowProps {
  value: string;
  options: readonly (readonly [value: string, words: string])[];
  changed: (value: string) => void;
  isFirst?: boolean;
}

/** A field of a form that offers several values. */
export function ChoiceField({ value, options, changed, isFirst = false, ...row }: Props) {
  return (
    <FieldRow
      {...row}
      control={(described) => (
        <select value={value} autofocus={isFirst} {...described} onChange={({ currentTarget }) => changed(currentTarget.value)}>
          {options.map(([one, words]) => (
            <option key={one} value={one}>
              {words}
            </option>
          ))}
        </select>
      )}
    />
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  changed: (checked: boolean) => void;
}

export function Check({ label, checked, changed }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={({ currentTarget }) => changed(currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
