// The menu of the views of the list that the server keeps, for everyone. The current view can be named here.
import { useEffect, useRef, useState } from 'preact/hooks';
import { May, useMay } from '../api/caller.js';
import { pageService, troubleOf, type Trouble } from '../api/client.js';
import { PageService, type SavedPage } from '../generated/espalier/v1/page_service_pb.js';
import { usePages } from '../pages/pages.page.js';
import { useNarrow } from '../ui/narrow.js';
import { TroubleNote } from '../ui/pending.js';
import { Anchor } from '../ui/router.js';
import { viewQuery, viewsOf } from './saved-views.js';

const LONGEST_NAME = 60;
const { savePage, deletePage } = PageService.method;

export function ViewsMenu({ query }: { query: URLSearchParams }) {
  const { data: pages, reload } = usePages();
  const views = viewsOf(pages ?? []);
  const may = useMay();
  const [name, setName] = useState('');
  const [trouble, setTrouble] = useState<Trouble>();
  const [isOpen, setOpen] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const isNarrow = useNarrow();
  const present = viewQuery(query);
  const reporting = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
      setTrouble(undefined);
      reload();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  const save = (event: Event): void => {
    event.preventDefault();
    const wanted = name.trim();
    if (wanted === '') return;
    // A view of the same name is replaced, where the caller may change it.
    const same = views.find((one) => one.name === wanted && may(savePage, one.page.madeBy));
    void reporting(async () => {
      await pageService.savePage({ pageId: same?.page.pageId ?? '', name: wanted, content: { listView: { query: present } } });
      setName('');
    });
  };
  const remove = ({ pageId }: SavedPage): Promise<void> => reporting(() => pageService.deletePage({ pageId }));
  const shown = views.find((one) => one.query === present);
  // The field comes when the caller's role is known, which may be after the menu was opened. On a telephone the keyboard would cover the
  // views.
  const takesFocus = isOpen && !isNarrow && may(savePage);
  useEffect(() => {
    if (takesFocus) field.current?.focus();
  }, [takesFocus]);
  return (
    <details class="menu" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary class="button">{shown === undefined ? 'Views' : `View: ${shown.name}`}</summary>
      <div class="card views">
        <May call={savePage}>
          <form onSubmit={save}>
            <label>
              Name of this view
              <input ref={field} value={name} maxLength={LONGEST_NAME} onInput={({ currentTarget }) => setName(currentTarget.value)} />
            </label>
            <button type="submit" disabled={name.trim() === ''}>
              Save
            </button>
          </form>
        </May>
        <TroubleNote trouble={trouble} />
        {views.length === 0 && <p class="soft">No view is saved yet. A view is filters, order, groups and columns under a name.</p>}
        {views.length > 0 && (
          <ul>
            {views.map((view) => (
              <li key={view.page.pageId}>
                <Anchor to={view.query === '' ? '/' : `/?${view.query}`} aria-current={view === shown ? 'page' : undefined}>
                  {view.name}
                </Anchor>
                <May call={deletePage} launchedBy={view.page.madeBy}>
                  <button class="plain" aria-label={`Remove the view ${view.name}`} onClick={() => void remove(view.page)}>
                    remove
                  </button>
                </May>
              </li>
            ))}
          </ul>
        )}
        <p class="soft">The server keeps the views, for all its users. The address of a view shares it, too.</p>
      </div>
    </details>
  );
}
