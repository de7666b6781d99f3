// Keeps the values of a form until it is sent, also if the form is closed, the page is left, or the browser is logged out.
import { useState } from 'preact/hooks';

export interface Draft<T> {
  values: T;
  change: (part: Partial<T>) => void;
  /** The draft was begun before this form was opened. */
  isOld: boolean;
  drop: () => void;
}

/** Reads a stored draft. A draft of another release may lack fields. */
function draftOf<T extends object>(stored: string | null, empty: T): T | null {
  try {
    const known = JSON.parse(stored ?? 'null') as unknown;
    return typeof known === 'object' && known !== null && !Array.isArray(known) ? { ...empty, ...known } : null;
  } catch {
    return null;
  }
}

export function useDraft<T extends object>(name: string, empty: T): Draft<T> {
  const key = `espalier.draft.${name}`;
  const [state, setState] = useState(() => {
    const old = draftOf(localStorage.getItem(key), empty);
    return { values: old ?? empty, isOld: old !== null };
  });
  const store = (values: T, isOld: boolean): void => {
    if (JSON.stringify(values) === JSON.stringify(empty)) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(values));
    setState({ values, isOld });
  };
  return {
    ...state,
    change: (part) => store({ ...state.values, ...part }, state.isOld),
    drop: () => store(empty, false),
  };
}
