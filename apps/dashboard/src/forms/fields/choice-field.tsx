import { useId } from 'preact/hooks';

interface Props {
  label: string;
  help?: string;
  value: string;
  options: readonly (readonly [value: string, words: string])[];
  changed: (value: string) => void;
  /** Why the server refuses the value. */
  wrong?: string | undefined;
  wide?: boolean;
  isFirst?: boolean;
}

/** A field of a form that offers several values. */
export function ChoiceField({ label, help, value, options, changed, wrong, wide = false, isFirst = false }: Props) {
  const id = useId();
  return (
    <label class={`field ${wide ? 'wide' : ''}`}>
      <span>{label}</span>
      <select
        value={value}
        autofocus={isFirst}
        aria-invalid={wrong !== undefined}
        aria-describedby={wrong === undefined ? undefined : id}
        onChange={({ currentTarget }) => changed(currentTarget.value)}
      >
        {options.map(([one, words]) => (
          <option key={one} value={one}>
            {words}
          </option>
        ))}
      </select>
      {help !== undefined && <small>{help}</small>}
      {wrong !== undefined && (
        <span class="wrong" id={id}>
          {wrong}
        </span>
      )}
    </label>
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
