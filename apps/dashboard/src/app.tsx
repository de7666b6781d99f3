// The frame around every view: the links to the views, whether the server answers, and the choice of light or dark.
import { useEffect, useState } from 'preact/hooks';
import { CallerProvider, May } from './api/caller.js';
import { startLive, useLink, type Link } from './api/live.js';
import { LaunchForm } from './forms/run/launch-form.js';
import { CallerMenu } from './login/caller-menu.js';
import { LoggedOut } from './login/logged-out.js';
import { RunService } from './generated/espalier/v1/run_service_pb.js';
import { CompareView } from './runs/compare/compare.js';
import { RunsView } from './runs/runs.js';
import { RunView } from './run/run.js';
import { Alerts } from './server/alerts.js';
import { ServerView } from './server/server.js';
import { StudiesView, StudyView } from './studies/studies.js';
import { Anchor, useLocation, type PageLocation } from './ui/router.js';
import { toggleTheme, useTheme } from './ui/theme.js';

startLive();

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
          <nav aria-label="Views">
            <Anchor to="/" aria-current={place.path === '/' || place.path.startsWith('/runs/') ? 'page' : undefined}>
              Runs
            </Anchor>
            <Anchor to="/studies" aria-current={place.path.startsWith('/studies') ? 'page' : undefined}>
              Studies
            </Anchor>
            <Anchor to="/compare" aria-current={place.path === '/compare' ? 'page' : undefined}>
              Compare
            </Anchor>
            <Anchor to="/server" aria-current={place.path === '/server' ? 'page' : undefined}>
              Server
            </Anchor>
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
      {launching && <LaunchForm close={() => setLaunching(false)} />}
    </CallerProvider>
  );
}

function View({ place, launch }: { place: PageLocation; launch: () => void }) {
  const { path, query } = place;
  const [, runId, tab = ''] = /^\/runs\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  const [, studyId] = /^\/studies\/([^/]+)$/.exec(path) ?? [];
  useEffect(() => {
    if (path === '/') document.title = 'Runs · Espalier';
    else if (path === '/studies') document.title = 'Studies · Espalier';
    else if (path === '/server') document.title = 'Server · Espalier';
    else if (path === '/compare') document.title = 'Comparison · Espalier';
  }, [path]);
  if (path === '/') return <RunsView query={query} launch={launch} />;
  if (path === '/compare') return <CompareView query={query} />;
  if (path === '/server') return <ServerView />;
  if (path === '/studies') return <StudiesView />;
  if (studyId !== undefined) return <StudyView key={studyId} studyId={decodeURIComponent(studyId)} query={query} />;
  if (runId !== undefined) return <RunView key={runId} runId={decodeURIComponent(runId)} tab={tab} query={query} />;
  return (
    <div class="card empty">
      <h1>Nothing is here</h1>
      <p>
        There is no view at this address. <Anchor to="/">All runs</Anchor>
      </p>
    </div>
  );
}
