// The list of the pages that users have made: panels, reports, and views of the list of runs.
import { May } from '../api/caller.js';
import { pageService } from '../api/client.js';
import { useLoaded } from '../api/loaded-data.js';
import { PageService, type SavedPage } from '../generated/espalier/v1/page_service_pb.js';
import { count, NONE, time } from '../ui/format.js';
import type { Page } from '../ui/page.js';
import { Heads } from '../ui/heads.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Anchor } from '../ui/router.js';
import { Scroll } from '../ui/scroll.js';
import { draftOf, isReport } from './page-draft.js';

export const page: Page = { name: 'Pages', place: 4, View: PagesView };

/** The pages that the server keeps. */
export const usePages = () => useLoaded('pages', async (signal) => (await pageService.listPages({}, { signal })).pages);

function PagesView() {
  const loaded = usePages();
  const { data: pages, trouble } = loaded;
  if (pages === undefined) return <Pending loaded={loaded} />;
  const make = (
    <May call={PageService.method.savePage}>
      <Anchor class="button main" to="/pages/new">
        New page
      </Anchor>
    </May>
  );
  if (pages.length === 0)
    return (
      <div class="card empty">
        <h1>No pages yet</h1>
        <p>
          A page has charts and tables of chosen runs, and text. It can follow its runs, or hold them as they are now: then it is a report.
        </p>
        <br />
        <p>{make}</p>
      </div>
    );
  return (
    <>
      <div class="bar">
        <h1>Pages</h1>
        <span class="actions">{make}</span>
      </div>
      <TroubleNote trouble={trouble} />
      <section class="card" aria-label="All pages">
        <Scroll label="All pages">
          <table class="plain num">
            <Heads names={['Name', 'Kind', 'Runs', 'Made by', 'Saved']} numbers={['Runs']} />
            <tbody>
              {pages.map((one) => (
                <tr key={one.pageId}>
                  <td>
                    <Anchor to={addressOf(one)}>{one.name}</Anchor>
                  </td>
                  <td>{kindOf(one)}</td>
                  <td class="right">{one.content?.panels === undefined ? NONE : count(one.content.panels.runs.length)}</td>
                  <td>{one.madeByName || one.madeBy}</td>
                  <td>{time(one.savedAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </section>
    </>
  );
}

function addressOf({ pageId, content }: SavedPage): string {
  const query = content?.listView?.query;
  if (query === undefined) return `/pages/${pageId}`;
  return query === '' ? '/' : `/?${query}`;
}

function kindOf(one: SavedPage): string {
  if (one.content?.listView !== undefined) return 'view of the list';
  return isReport(draftOf(one)) ? 'report' : 'page';
}
