// One saved page: its panels, or the form that changes it. The address /pages/new makes one.
import { useEffect, useState } from 'preact/hooks';
import { May } from '../api/caller.js';
import { pageService } from '../api/client.js';
import { useLoaded } from '../api/loaded-data.js';
import { ReasonForm } from '../forms/reason-form.js';
import { PageService } from '../generated/espalier/v1/page_service_pb.js';
import { time } from '../ui/format.js';
import { Pending } from '../ui/pending.js';
import { Anchor, go, setQuery } from '../ui/router.js';
import { draftOf, draftOfAddress, isReport } from './page-draft.js';
import { PageEditor } from './page-editor.js';
import { Panels } from './panels.js';

const NEW = 'new';

export function PageView({ pageId, query }: { pageId: string; query: URLSearchParams }) {
  return pageId === NEW ? <PageEditor begun={draftOfAddress(query)} /> : <SavedPageView pageId={pageId} query={query} />;
}

function SavedPageView({ pageId, query }: { pageId: string; query: URLSearchParams }) {
  const loaded = useLoaded(`page ${pageId}`, async (signal) => (await pageService.getPage({ pageId }, { signal })).page);
  const { data: page, reload } = loaded;
  const [isDeleting, setDeleting] = useState(false);
  useEffect(() => {
    document.title = page === undefined ? 'Page · Espalier' : `${page.name} · Espalier`;
  }, [page?.name]);
  if (page === undefined)
    return (
      <Pending loaded={loaded} heading={`No page ${pageId}`}>
        <Anchor to="/pages">All pages</Anchor>
      </Pending>
    );
  const list = page.content?.listView;
  if (list !== undefined)
    return (
      <div class="card empty">
        <h1>{page.name}</h1>
        <p>
          This is a view of the list. <Anchor to={`/?${list.query}`}>Open it</Anchor>
        </p>
      </div>
    );
  const draft = draftOf(page);
  if (query.get('edit') === '1')
    return (
      <PageEditor
        begun={draft}
        page={page}
        saved={() => {
          reload();
          setQuery({ edit: '' });
        }}
      />
    );
  return (
    <>
      <div class="bar">
        <h1>{page.name}</h1>
        <span class="soft">
          {isReport(draft) ? 'report' : 'page'} of {page.madeByName || page.madeBy}, saved {time(page.savedAt)}
        </span>
        <span class="actions">
          <May call={PageService.method.savePage} launchedBy={page.madeBy}>
            <button onClick={() => setQuery({ edit: '1' })}>Edit</button>
          </May>
          <May call={PageService.method.deletePage} launchedBy={page.madeBy}>
            <button class="danger" onClick={() => setDeleting(true)}>
              Delete
            </button>
          </May>
        </span>
      </div>
      <Panels draft={draft} />
      {isDeleting && (
        <ReasonForm
          title={`Delete ${page.name}`}
          button="Delete the page"
          act={(reason) => pageService.deletePage({ pageId, reason })}
          close={() => setDeleting(false)}
          done={() => go('/pages')}
        >
          Its address shows nothing from now on. The runs stay as they are.
        </ReasonForm>
      )}
    </>
  );
}
