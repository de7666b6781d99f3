// The runs of a list, as far as somebody has scrolled: the server filters and orders, and gives one page after the other.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { historyService, isAbort, runService, troubleOf, type Trouble } from '../api/client.js';
import { useChanges } from '../api/live.js';
import type { RunStatus } from '../generated/espalier/v1/common_pb.js';

const PAGE_SIZE = 200;
const LIST_EVERY_MS = 1_000;
/** More changes than that at once, and the list is loaded anew. */
const SINGLE_RUNS = 20;
const SPARK_POINTS = 48;

export interface RunFilter {
  text: string;
  statuses: RunStatus[];
  tags: string[];
  orderBy: string;
}

export interface RunPages {
  runs: Run[];
  total: number | undefined;
  trouble: Trouble | undefined;
  /** Loads on until so many are there. */
  need: (rows: number) => void;
}

export function useRunPages(filter: RunFilter): RunPages {
  const key = JSON.stringify(filter);
  const [shown, setShown] = useState<{ key: string; runs: Run[]; total: number | undefined; trouble: Trouble | undefined }>({
    key,
    runs: [],
    total: undefined,
    trouble: undefined,
  });
  const loading = useRef({ key: '', token: '', isDone: false, isBusy: false, rows: PAGE_SIZE, runs: [] as Run[], epoch: 0 });

  const more = useCallback(async () => {
    const state = loading.current;
    if (state.isBusy) return;
    state.isBusy = true;
    const { epoch } = state;
    try {
      while (!state.isDone && state.runs.length < state.rows) {
        const page = await runService.listRuns({
          pageSize: PAGE_SIZE,
          pageToken: state.token,
          nameContains: filter.text,
          statuses: filter.statuses,
          tags: filter.tags,
          orderBy: filter.orderBy,
        });
        if (loading.current.epoch !== epoch) return;
        state.runs = [...state.runs, ...page.runs];
        state.token = page.nextPageToken;
        state.isDone = page.nextPageToken === '';
        setShown({ key, runs: state.runs, total: page.total, trouble: undefined });
      }
    } catch (error) {
      if (loading.current.epoch === epoch && !isAbort(error)) setShown((before) => ({ ...before, key, trouble: troubleOf(error) }));
    } finally {
      state.isBusy = false;
    }
  }, [key]);

  const anew = useCallback(() => {
    const { epoch, rows } = loading.current;
    loading.current = { key, token: '', isDone: false, isBusy: false, rows: Math.min(rows, 1_000), runs: [], epoch: epoch + 1 };
    void more();
  }, [key]);
  useEffect(anew, [key]);

  useChanges(
    () => true,
    (changes) => {
      const ids = [...new Set(changes.map(({ runId }) => runId))];
      const isNew = changes.some(
        ({ runId, type }) => runId === '' || type === 'RunLaunched' || type === 'RunForked' || type === 'RunDeleted',
      );
      if (isNew || ids.length > SINGLE_RUNS) anew();
      else void refresh(ids);
    },
    LIST_EVERY_MS,
    key,
  );
  /** Runs that are shown get their new values in their rows; the order is looked at when the list is loaded next. */
  const refresh = async (ids: string[]): Promise<void> => {
    const { epoch } = loading.current;
    const mine = ids.filter((id) => loading.current.runs.some(({ runId }) => runId === id));
    const fresh = new Map<string, Run>();
    await Promise.all(
      mine.map(async (runId) => {
        const { run } = await runService.getRun({ runId }).catch(() => ({ run: undefined }));
        if (run !== undefined) fresh.set(runId, run);
      }),
    );
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
  return { runs: shown.runs, total: shown.key === key ? shown.total : undefined, trouble: shown.trouble, need };
}

/** The losses of the runs in sight, a few points each. */
export function useLosses(runs: Run[]): Map<string, number[]> {
  const known = useRef(new Map<string, { step: bigint; losses: number[] }>());
  const [, setRound] = useState(0);
  const key = runs.map(({ runId, step }) => `${runId} ${step}`).join();
  useEffect(() => {
    const controller = new AbortController();
    const missing = runs.filter(({ runId, step }) => step > 1n && known.current.get(runId)?.step !== step);
    const load = async (): Promise<void> => {
      for (const { runId, step } of missing) {
        const { curves } = await historyService.queryCurves(
          { runId, maxPoints: SPARK_POINTS, quantities: ['loss'] },
          { signal: controller.signal },
        );
        known.current.set(runId, { step, losses: curves[0]?.mean ?? [] });
      }
      if (missing.length > 0) setRound((round) => round + 1);
    };
    const timer = setTimeout(() => void load().catch(() => undefined), 150);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return new Map([...known.current].map(([runId, { losses }]) => [runId, losses]));
}
