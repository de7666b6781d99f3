// The frame around every view: the links to the views, whether the server answers, and the choice of light or dark.
import { useEffect, useState } from 'preact/hooks';
import { viewOfOne } from '../../../libs/comparison/src/index.js';
import { CallerProvider, May } from './api/caller.js';
import { startLive, useLink, type Link } from './api/live.js';
import { LaunchForm } from './forms/run/launch-form.js';
import { CallerMenu } from './login/caller-menu.js';
import { LoggedOut } from './login/logged-out.js';
import { RunService } from './generated/espalier/v1/run_service_pb.js';
import { PageView } from './pages/page-view.js';
import { RunView } from './run/run.js';
import { Alerts } from './server/alerts.js';
import { StudyView } from './studies/studies.page.js';
import { useCurrentInSight } from './ui/current-in-sight.js';
import { Keys } from './ui/keys.js';
import { addressOf, type Page } from './ui/page.js';
import { Anchor, useLocation, type PageLocation } from './ui/router.js';
import { toggleTheme, useTheme } from './ui/theme.js';

startLive();

const PAGES = Object.entries(import.meta.glob<Page>('./**/*.page.tsx', { import: 'page', eager: true }))
  .map(([file, page]): [address: string, page: Page] => [addressOf(file), page])
  .sort(([, one], [, other]) => one.place - other.place);

const LINK_WORDS: Record<Link, [tone: string, words: string]> = {
  connecting: ['quiet', 'connecting'],
  connected: ['good', 'live'],
  away: ['wait', 'server away, trying again'],
  locked: ['bad', 'logged out'],
};

export function App() {
  const place = useLocation();
  const link = useLink();
  const theme = useTheme();
  const row = useCurrentInSight(place.path);
  const [launching, setLaunching] = useState(false);
  const [tone, words] = LINK_WORDS[link];
  return (
    <CallerProvider>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <div class="top" role="banner">
        <div>
          <Anchor to="/" class="brand" aria-label="Espalier, all runs">
            <img src="/icon.svg" alt="" />
            <span>Espalier</span>
          </Anchor>
          <nav aria-label="Views" ref={row}>
            {PAGES.map(([path, { name }]) => (
              <Anchor key={path} to={path} aria-current={place.path === path || partOf(place.path) === path ? 'page' : undefined}>
                {name}
              </Anchor>
            ))}
          </nav>
          <span class="link" role="status">
            <span class={`dot ${tone}`} />
            <span>{words}</span>
          </span>
          <button class="plain" onClick={toggleTheme} aria-label={`Change to the ${theme === 'dark' ? 'light' : 'dark'} theme`}>
            {theme === 'dark' ? '☀' : '☾'}
          </button>
          {link !== 'locked' && (
            <>
              <CallerMenu />
              <May call={RunService.method.launchRun}>
                <button class="main" onClick={() => setLaunching(true)}>
                  Launch
                </button>
              </May>
            </>
          )}
        </div>
      </div>
      {link === 'connected' && <Alerts />}
      <main id="content" class={link === 'away' ? 'old' : ''}>
        {link === 'locked' ? <LoggedOut /> : <View place={place} launch={() => setLaunching(true)} />}
      </main>
      <Keys />
      {launching && <LaunchForm close={() => setLaunching(false)} />}
    </CallerProvider>
  );
}

const LISTS = { run: '/', study: '/studies', page: '/pages' };

/** The address of the view that lists runs, studies or pages, where the path is that of one. */
function partOf(path: string): string | undefined {
  const one = viewOfOne(path);
  return one && LISTS[one.of];
}

function View({ place, launch }: { place: PageLocation; launch: () => void }) {
  const { path, query } = place;
  const [, page] = PAGES.find(([address]) => address === path) ?? [];
  useEffect(() => {
    if (page !== undefined) document.title = `${page.name} · Espalier`;
  }, [page]);
  if (page !== undefined) return <page.View query={query} launch={launch} />;
  const one = viewOfOne(path);
  if (one?.of === 'study') return <StudyView key={one.id} studyId={decodeURIComponent(one.id)} query={query} />;
  if (one?.of === 'page') return <PageView key={one.id} pageId={decodeURIComponent(one.id)} query={query} />;
  if (one?.of === 'run') return <RunView key={one.id} runId={decodeURIComponent(one.id)} tab={one.tab} query={query} />;
  return (
    <div class="card empty">
      <h1>Nothing is here</h1>
      <p>
        There is no view at this address. <Anchor to="/">All runs</Anchor>
      </p>
    </div>
  );
}
