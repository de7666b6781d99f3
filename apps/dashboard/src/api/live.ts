// Tells every tab about changes of runs, through one stream. A browser opens at most six connections to a server, and a stream occupies
// one. The tab that has the lock reads the stream and tells the others. When it closes, another tab gets the lock.
import { useEffect, useRef, useState } from 'preact/hooks';
import { historyService, isAbort, onLockedOut, troubleOf } from './client.js';

export type Link = 'connecting' | 'connected' | 'away' | 'locked';
/** A change of a run. An empty `runId` means that anything may have changed, because the stream has begun again. */
export interface Change {
  runId: string;
  type: string;
}
type News = { change: Change } | { link: Link } | { asks: true };

const LOCK = 'espalier-stream';
const FIRST_RETRY_MS = 500;
/** The time that a view waits for the stream before it loads, so that it need not load again once the stream is there. */
const SETTLE_MS = 400;
const LONGEST_RETRY_MS = 5_000;

const channel = new BroadcastChannel('espalier');
const changeListeners = new Set<(change: Change) => void>();
const linkListeners = new Set<(link: Link) => void>();
let link: Link = 'connecting';
let leads = false;
let stream = new AbortController();
let isSettled = false;
let settle: () => void = () => undefined;
const settled = new Promise<void>((resolve) => {
  settle = () => {
    isSettled = true;
    resolve();
  };
});
/** Resolves when the stream is connected or known to be away, or after a moment. */
export const liveSettled = (): Promise<void> => settled;

function receive(news: News): void {
  if ('change' in news) for (const listener of changeListeners) listener(news.change);
  else if ('link' in news) setLink(news.link);
  else if (leads) channel.postMessage({ link } satisfies News);
}

function broadcast(news: News): void {
  channel.postMessage(news);
  receive(news);
}

function setLink(next: Link): void {
  // A stream that began with a login goes on after the logout. It is begun again, so that it notices when the browser may call again.
  if (next === 'locked' && leads) stream.abort();
  if (next !== 'connecting') settle();
  if (next === link) return;
  link = next;
  for (const listener of linkListeners) listener(next);
}

async function lead(): Promise<never> {
  leads = true;
  let position = '';
  for (let wait = FIRST_RETRY_MS; ;) {
    try {
      stream = new AbortController();
      for await (const message of historyService.watchHistory({ afterPosition: position }, { signal: stream.signal })) {
        position = message.position || position;
        if (message.caughtUp) {
          wait = FIRST_RETRY_MS;
          const hasLoaded = isSettled;
          broadcast({ link: 'connected' });
          if (hasLoaded) broadcast({ change: { runId: '', type: '' } });
        }
        if (message.event !== undefined) broadcast({ change: { runId: message.event.runId, type: message.event.type } });
      }
    } catch (error) {
      if (!isAbort(error)) {
        const { isLocked, isAway } = troubleOf(error);
        if (!isAway) position = ''; // the server may have another store now
        broadcast({ link: isLocked ? 'locked' : 'away' });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, LONGEST_RETRY_MS);
  }
}

export function startLive(): void {
  onLockedOut(() => broadcast({ link: 'locked' }));
  setTimeout(settle, SETTLE_MS);
  channel.onmessage = ({ data }) => receive(data as News);
  channel.postMessage({ asks: true } satisfies News);
  // Without TLS, browsers have no locks on a host other than this machine. Then each tab has a stream of its own.
  if ('locks' in navigator) void navigator.locks.request(LOCK, lead);
  else void lead();
}

export function useLink(): Link {
  const [now, setNow] = useState(link);
  useEffect(() => {
    setNow(link);
    linkListeners.add(setNow);
    return () => void linkListeners.delete(setNow);
  }, []);
  return now;
}

/** Calls `returned` when the server answers again after an interruption, or after a login. */
export function useReturn(returned: () => void): void {
  const latest = useRef(returned);
  latest.current = returned;
  useEffect(() => {
    let before = link;
    const listener = (next: Link): void => {
      if (next === 'connected' && before !== 'connected') latest.current();
      before = next;
    };
    linkListeners.add(listener);
    return () => void linkListeners.delete(listener);
  }, []);
}

/** Calls `changed` after changes, with all of them. There are at least `everyMs` milliseconds between two calls. */
export function useChanges(
  concerns: (change: Change) => boolean,
  changed: (changes: Change[]) => void,
  everyMs: number,
  key: string,
): void {
  useEffect(() => {
    let waiting: Change[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last = 0;
    const fire = (): void => {
      timer = undefined;
      last = Date.now();
      const now = waiting;
      waiting = [];
      changed(now);
    };
    const listener = (change: Change): void => {
      if (change.runId !== '' && !concerns(change)) return;
      waiting.push(change);
      timer ??= setTimeout(fire, Math.max(0, last + everyMs - Date.now()));
    };
    changeListeners.add(listener);
    return () => {
      changeListeners.delete(listener);
      clearTimeout(timer);
    };
  }, [key]);
}
