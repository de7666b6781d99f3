// Data from the server that a view shows. It is loaded when the view opens, and again when it may have changed. The old data stays until
// the new data is there, so that the view does not jump.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { isAbort, troubleOf, type Trouble } from './client.js';
import { liveSettled, useReturn } from './live.js';
import { retryDelayMs } from './view-state.js';

export interface Loaded<T> {
  data: T | undefined;
  trouble: Trouble | undefined;
  reload: () => void;
}

/**
 * Loads data, and loads it again when `key` or `version` changes.
 * @param key identifies the data; with another key the old data disappears
 * @param version the version of the data; with another version the old data stays until the new data is there
 */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>, version = ''): Loaded<T> {
  const [state, setState] = useState<{ key: string; data: T | undefined; trouble: Trouble | undefined }>({
    key,
    data: undefined,
    trouble: undefined,
  });
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const hasTrouble = useRef(false);
  hasTrouble.current = state.trouble !== undefined;
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (attempts: number): Promise<void> => {
      try {
        await liveSettled();
        if (controller.signal.aborted) return;
        const data = await latest.current(controller.signal);
        if (!controller.signal.aborted) setState({ key, data, trouble: undefined });
      } catch (error) {
        if (controller.signal.aborted || isAbort(error)) return;
        const trouble = { ...troubleOf(error), isOfPage: true };
        setState((before) => ({ key, data: before.key === key ? before.data : undefined, trouble }));
        const delay = retryDelayMs(trouble, attempts);
        if (delay !== null) timer = setTimeout(() => void ask(attempts + 1), delay);
      }
    };
    void ask(0);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key, version, round]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  useReturn(() => hasTrouble.current && reload());
  const own = state.key === key;
  return { data: own ? state.data : undefined, trouble: own ? state.trouble : undefined, reload };
}

/** The failure of a request that the user made by hand. It disappears when the server answers again after an interruption. */
export function useTrouble(): [Trouble | undefined, (trouble: Trouble | undefined) => void] {
  const [trouble, setTrouble] = useState<Trouble>();
  useReturn(() => setTrouble((before) => (before?.isPassing === true || before?.isLocked === true ? undefined : before)));
  return [trouble, setTrouble];
}

/** Calls `work` again and again while the page is visible. */
export function useRepeated(work: () => void, everyMs: number, isOn = true): void {
  const latest = useRef(work);
  latest.current = work;
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => document.visibilityState === 'visible' && latest.current(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, isOn]);
}
