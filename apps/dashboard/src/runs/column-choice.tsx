// Chooses the columns of the list: the list's own, and columns of settings and tasks.
import { useState } from 'preact/hooks';
import type { Column } from './columns.js';

interface Props {
  /** All columns. The first one is always shown. */
  all: Column[];
  shown: Column[];
  changed: (ids: string[]) => void;
}

export function ColumnChoice({ all, shown, changed }: Props) {
  const [wanted, setWanted] = useState('');
  const ids = shown.map(({ id }) => id);
  const found = all.slice(1).filter(({ title }) => title.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <details class="menu">
      <summary class="button">Columns</summary>
      <div class="card" role="group" aria-label="Columns">
        <input
          type="text"
          aria-label="Find a column"
          placeholder="find a column"
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
        <button class="plain" onClick={() => changed([])}>
          The columns shown at first
        </button>
        {found.map(({ id, title }) => (
          <label key={id}>
            <input
              type="checkbox"
              checked={ids.includes(id)}
              onChange={({ currentTarget }) => changed(currentTarget.checked ? [...ids, id] : ids.filter((one) => one !== id))}
            />
            {title}
          </label>
        ))}
        {found.length === 0 && <span class="soft">No column has this in its name.</span>}
      </div>
    </details>
  );
}
