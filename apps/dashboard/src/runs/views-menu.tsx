// The menu of the views that the reader has named. The current view can be named here.
import { useState } from 'preact/hooks';
import { Anchor } from '../ui/router.js';
import { viewQuery, viewsOf, withView, type SavedView } from './saved-views.js';

const KEY = 'espalier.views';
const LONGEST_NAME = 60;

export function ViewsMenu({ query }: { query: URLSearchParams }) {
  const [views, setViews] = useState(() => viewsOf(localStorage.getItem(KEY)));
  const [name, setName] = useState('');
  const present = viewQuery(query);
  const store = (next: SavedView[]): void => {
    localStorage.setItem(KEY, JSON.stringify(next));
    setViews(next);
  };
  const save = (event: Event): void => {
    event.preventDefault();
    if (name.trim() === '') return;
    store(withView(views, { name: name.trim(), query: present }));
    setName('');
  };
  const shown = views.find((one) => one.query === present);
  return (
    <details class="menu">
      <summary class="button">{shown === undefined ? 'Views' : `View: ${shown.name}`}</summary>
      <div class="card views">
        {views.length === 0 && <p class="soft">No view is saved yet. A view is filters, order, groups and columns under a name.</p>}
        {views.length > 0 && (
          <ul>
            {views.map((view) => (
              <li key={view.name}>
                <Anchor to={view.query === '' ? '/' : `/?${view.query}`} aria-current={view === shown ? 'page' : undefined}>
                  {view.name}
                </Anchor>
                <button
                  class="plain"
                  aria-label={`Remove the view ${view.name}`}
                  onClick={() => store(views.filter((one) => one !== view))}
                >
                  remove
                </button>
              </li>
            ))}
          </ul>
        )}
        <form onSubmit={save}>
          <label>
            Name of this view
            <input value={name} maxLength={LONGEST_NAME} onInput={({ currentTarget }) => setName(currentTarget.value)} />
          </label>
          <button type="submit" disabled={name.trim() === ''}>
            Save
          </button>
        </form>
        <p class="soft">This browser keeps the views. To share one, send its address.</p>
      </div>
    </details>
  );
}
