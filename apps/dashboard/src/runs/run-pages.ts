// Loads the runs of a list as far as the reader has scrolled. The server filters and orders them, and returns one page after the other.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { isAbort, runService, troubleOf, type Trouble } from '../api/client.js';
import { liveSettled, useChanges, useReturn } from '../api/live.js';
import { retryDelayMs } from '../api/view-state.js';
import type { RunStatus } from '../generated/espalier/v1/common_pb.js';

/** The first page fills a screen, so that its rows come soon. */
const FIRST_PAGE = 60;
const PAGE_SIZE = 200;
/** The largest page. After a jump far down, many rows have to be loaded. */
const LARGEST_PAGE = 500;
const LIST_EVERY_MS = 1_000;
/** If more runs change at once, the list is loaded again. */
const SINGLE_RUNS = 20;

export interface RunFilter {
  text: string;
  statuses: RunStatus[];
  tags: string[];
  /** The conditions in the form that ListRuns accepts. */
  where: string[];
  orderBy: string;
}

export interface RunPages {
  runs: Run[];
  total: number | undefined;
  trouble: Trouble | undefined;
  reload: () => void;
  /** Loads more until this number of rows is there. */
  need: (rows: number) => void;
}

export function useRunPages(filter: RunFilter): RunPages {
  const key = JSON.stringify(filter);
  const [shown, setShown] = useState<Shown>(nothingOf(key));
  const loading = useRef(loadingOf(''));
  const timer = useRef<ReturnType<typeof setTimeout>>();

  const more = useCallback(async () => {
    const state = loading.current;
    if (state.isBusy) return;
    state.isBusy = true;
    const { epoch } = state;
    try {
      await liveSettled();
      while (!state.isDone && state.runs.length < state.rows) {
        const page = await runService.listRuns({
          pageSize: pageSizeFor(state),
          pageToken: state.token,
          nameContains: filter.text,
          statuses: filter.statuses,
          tags: filter.tags,
          where: filter.where,
          orderBy: filter.orderBy,
        });
        if (loading.current.epoch !== epoch) return;
        state.runs = [...state.runs, ...page.runs];
        state.token = page.nextPageToken;
        state.isDone = page.nextPageToken === '';
        state.failures = 0;
        setShown({ key, runs: state.runs, total: page.total, trouble: undefined });
      }
    } catch (error) {
      if (loading.current.epoch !== epoch || isAbort(error)) return;
      const trouble = { ...troubleOf(error), isOfPage: true };
      // The rows on the page stay beside the error if they are of this filter. A user would take the rows of another filter for its result.
      setShown((before) => (before.key === key ? { ...before, trouble } : nothingOf(key, trouble)));
      const delay = retryDelayMs(trouble, state.failures);
      state.failures += 1;
      if (delay !== null) timer.current = setTimeout(() => void more(), delay);
    } finally {
      state.isBusy = false;
    }
  }, [key]);

  const again = useCallback(() => {
    const { epoch, rows } = loading.current;
    clearTimeout(timer.current);
    loading.current = loadingOf(key, Math.min(rows, 1_000), epoch + 1);
    void more();
  }, [key]);
  useEffect(() => {
    again();
    return () => clearTimeout(timer.current);
  }, [key]);
  useReturn(() => shown.trouble !== undefined && again());

  useChanges(
    () => true,
    (changes) => {
      const ids = [...new Set(changes.map(({ runId }) => runId))];
      const isNew = changes.some(
        ({ runId, type }) => runId === '' || type === 'RunLaunched' || type === 'RunForked' || type === 'RunDeleted',
      );
      if (isNew || ids.length > SINGLE_RUNS) again();
      else void refresh(ids);
    },
    LIST_EVERY_MS,
    key,
  );
  const refresh = async (ids: string[]): Promise<void> => {
    const { epoch } = loading.current;
    const fresh = await freshRuns(ids.filter((id) => loading.current.runs.some(({ runId }) => runId === id)));
    const state = loading.current;
    if (state.epoch !== epoch || fresh.size === 0) return;
    state.runs = state.runs.map((run) => fresh.get(run.runId) ?? run);
    setShown((before) => ({ ...before, runs: state.runs }));
  };

  const need = useCallback(
    (rows: number) => {
      if (rows <= loading.current.rows) return;
      loading.current.rows = rows;
      void more();
    },
    [key],
  );
  const own = shown.key === key;
  return { runs: shown.runs, total: own ? shown.total : undefined, trouble: own ? shown.trouble : undefined, reload: again, need };
}

/** Returns the ids of all runs that match a filter, loaded in the list or not. */
export async function allRunIds({ text: nameContains, statuses, tags, where }: RunFilter): Promise<string[]> {
  return (await runService.listFigures({ nameContains, statuses, tags, where })).runIds;
}

/** Loads the new values of runs whose rows are shown. Their order is updated when the list is loaded next. */
async function freshRuns(ids: string[]): Promise<Map<string, Run>> {
  const fresh = new Map<string, Run>();
  await Promise.all(
    ids.map(async (runId) => {
      const { run } = await runService.getRun({ runId }).catch(() => ({ run: undefined }));
      if (run !== undefined) fresh.set(runId, run);
    }),
  );
  return fresh;
}

interface Shown {
  key: string;
  runs: Run[];
  total: number | undefined;
  trouble: Trouble | undefined;
}
const nothingOf = (key: string, trouble?: Trouble): Shown => ({ key, runs: [], total: undefined, trouble });

interface Loading {
  key: string;
  token: string;
  isDone: boolean;
  isBusy: boolean;
  rows: number;
  runs: Run[];
  /** The number of the current loading. Answers of an earlier one are ignored. */
  epoch: number;
  failures: number;
}

function pageSizeFor({ rows, runs }: Loading): number {
  if (rows <= FIRST_PAGE) return FIRST_PAGE;
  return rows - runs.length > PAGE_SIZE ? LARGEST_PAGE : PAGE_SIZE;
}

const loadingOf = (key: string, rows = FIRST_PAGE, epoch = 0): Loading => ({
  key,
  token: '',
  isDone: false,
  isBusy: false,
  rows,
  runs: [],
  epoch,
  failures: 0,
});
