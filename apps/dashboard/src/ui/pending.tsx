// Stands for data that is not there yet, or that can't be loaded.
import type { ComponentChildren } from 'preact';
import type { Trouble } from '../api/client.js';
import { hasOwnNote, viewPhase } from '../api/view-state.js';

/** Shows a failure, unless the frame of the page shows it for all views. */
export function TroubleNote({ trouble }: { trouble: Trouble | undefined }) {
  if (trouble === undefined || !hasOwnNote(trouble)) return null;
  return (
    <p class="trouble" role="alert">
      {trouble.message} {trouble.code !== '' && <code class="soft">{trouble.code}</code>}
    </p>
  );
}

interface PendingProps {
  loaded: { data: unknown; trouble: Trouble | undefined; reload: () => void };
  /** The heading above the cause if the data can't be loaded: "No run k3f9". */
  heading?: string;
  children?: ComponentChildren;
}

/** Stands in place of data that is not there yet, or can't be loaded. */
export function Pending({ loaded: { data, trouble, reload }, heading = 'This can\u2019t be shown', children }: PendingProps) {
  const phase = viewPhase({ data, trouble });
  if (phase === 'locked') return null;
  if (phase === 'loading')
    return (
      <div class="skeleton" role="status" aria-label="Loading">
        <span />
        <span />
        <span />
      </div>
    );
  const isWaiting = phase === 'waiting';
  return (
    <div class="card empty" role="alert">
      <h2>{isWaiting && trouble?.isAway === true ? 'The server does not answer' : isWaiting ? 'Not ready yet' : heading}</h2>
      <p>
        {trouble?.isAway !== true && trouble?.message} {isWaiting && 'The page asks again by itself.'}
      </p>
      <p>
        <button onClick={reload}>Ask again</button> {children}
      </p>
    </div>
  );
}
