// Loads the figures of runs that plots draw. The server returns a few numbers for each run, and after a change only those of the changed
// runs.
import { useEffect, useRef, useState } from 'preact/hooks';
import { runService } from '../../api/client.js';
import { useChanges } from '../../api/live.js';
import { useLoaded, type Loaded } from '../../api/loaded-data.js';
import type { RunFilter } from '../run-pages.js';
import { runsOf, withChanged, type DrawnRun } from './figure-columns.js';

/** The runs to draw: those that match, and of these only the named ones where ids are given. */
export type Selection = Omit<RunFilter, 'orderBy'> & { runIds?: readonly string[] };

/** The most runs that a request may name. */
const MOST_NAMED = 500;
const REFRESH_MS = 3_000;

export async function drawnRuns(selection: Selection, figures: readonly string[], signal?: AbortSignal): Promise<DrawnRun[]> {
  const { text: nameContains, statuses, tags, where, runIds } = selection;
  const asked = { figures: [...figures], nameContains, statuses, tags, where };
  const parts = runIds === undefined ? [[]] : partsOf(runIds);
  const answers = await Promise.all(
    parts.map((named) => runService.listFigures({ ...asked, runIds: named }, signal === undefined ? {} : { signal })),
  );
  return answers.flatMap(runsOf);
}

const partsOf = (ids: readonly string[]): string[][] =>
  Array.from({ length: Math.ceil(ids.length / MOST_NAMED) }, (_, part) => ids.slice(part * MOST_NAMED, (part + 1) * MOST_NAMED));

export function useDrawnRuns(selection: Selection, figures: readonly string[]): Loaded<DrawnRun[]> {
  const key = JSON.stringify([selection, figures]);
  const loaded = useLoaded(`figures ${key}`, (signal) => drawnRuns(selection, figures, signal));
  const [runs, setRuns] = useState<DrawnRun[]>();
  const latest = useRef<DrawnRun[]>();
  const show = (next: DrawnRun[] | undefined): void => {
    latest.current = next;
    setRuns(next);
  };
  useEffect(() => show(loaded.data), [loaded.data]);
  const refresh = async (ids: string[]): Promise<void> => {
    const before = latest.current;
    const changed = ids.filter((id) => selection.runIds?.includes(id) !== false);
    if (before === undefined || changed.length === 0) return;
    const fresh = await drawnRuns({ ...selection, runIds: changed }, figures).catch(() => undefined); // a later change asks again
    if (fresh !== undefined && latest.current === before) show(withChanged(before, changed, fresh));
  };
  useChanges(
    () => true,
    (changes) => {
      const ids = [...new Set(changes.map(({ runId }) => runId))];
      if (ids.includes('')) loaded.reload();
      else void refresh(ids);
    },
    REFRESH_MS,
    key,
  );
  return { ...loaded, data: loaded.data === undefined ? undefined : (runs ?? loaded.data) };
}
