import { useId } from 'preact/hooks';

interface Props {
  label: string;
  help?: string;
  value: string;
  changed: (value: string) => void;
  /** Why the server refuses it. */
  wrong?: string | undefined;
  needed?: boolean;
  wide?: boolean;
  isFirst?: boolean;
}

export function TextField({ label, help, value, changed, wrong, needed = false, wide = false, isFirst = false }: Props) {
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
