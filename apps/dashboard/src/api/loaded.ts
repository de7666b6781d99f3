// Something from the server that a view shows: loaded when the view opens, and again when it may have changed. What was shown stays
// until the new is there, so that nothing jumps.
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
 * @param key says what is loaded: with another key it is something else
 * @param version of the same thing: with another one it is loaded again, and what was shown stays meanwhile
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
        const trouble = troubleOf(error);
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

/** The failure of something that was asked for by hand; it goes when the server that was away answers again. */
export function useTrouble(): [Trouble | undefined, (trouble: Trouble | undefined) => void] {
  const [trouble, setTrouble] = useState<Trouble>();
  useReturn(() => setTrouble((before) => (before?.isPassing === true || before?.isLocked === true ? undefined : before)));
  return [trouble, setTrouble];
}

/** Calls again and again while the page is seen. */
export function useRepeated(work: () => void, everyMs: number, isOn = true): void {
  const latest = useRef(work);
  latest.current = work;
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => document.visibilityState === 'visible' && latest.current(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, isOn]);
}
