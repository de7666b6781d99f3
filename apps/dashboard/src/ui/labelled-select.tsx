interface LabelledSelectProps {
  label: string;
  value: string;
  options: Readonly<Record<string, string>>;
  changed: (value: string) => void;
}

/** A choice of one of a few words. */
export function LabelledSelect({ label, value, options, changed }: LabelledSelectProps) {
  return (
    <label>
      {label}
      <select value={value} onChange={({ currentTarget }) => changed(currentTarget.value)}>
        {Object.entries(options).map(([id, words]) => (
          <option key={id} value={id}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}
