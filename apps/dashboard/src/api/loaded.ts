// Something from the server that a view shows: loaded when the view opens, and again when it may have changed. What was shown stays
// until the new is there, so that nothing jumps.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { isAbort, troubleOf, type Trouble } from './client.js';

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
  useEffect(() => {
    const controller = new AbortController();
    latest.current(controller.signal).then(
      (data) => {
        if (!controller.signal.aborted) setState({ key, data, trouble: undefined });
      },
      (error: unknown) => {
        if (!controller.signal.aborted && !isAbort(error))
          setState((before) => ({ key, data: before.key === key ? before.data : undefined, trouble: troubleOf(error) }));
      },
    );
    return () => controller.abort();
  }, [key, version, round]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  const own = state.key === key;
  return { data: own ? state.data : undefined, trouble: own ? state.trouble : undefined, reload };
}
