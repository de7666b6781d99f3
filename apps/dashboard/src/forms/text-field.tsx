interface Props {
  label: string;
  help?: string;
  value: string;
  changed: (value: string) => void;
  needed?: boolean;
  wide?: boolean;
}

export function TextField({ label, help, value, changed, needed = false, wide = false }: Props) {
  return (
    <label class={`field ${wide ? 'wide' : ''}`}>
      <span>{label}</span>
      <input value={value} required={needed} onInput={({ currentTarget }) => changed(currentTarget.value)} />
      {help !== undefined && <small>{help}</small>}
    </label>
  );
}
