// A download that the page itself makes: its progress, how to stop it, and why it failed. It ends when its view is closed.
import { useEffect, useRef, useState } from 'preact/hooks';
import { isAbort, troubleOf, type Trouble } from './client.js';
import { useTrouble } from './loaded-data.js';

export interface Download<Progress> {
  /** null: nothing is being downloaded. */
  progress: Progress | null;
  trouble: Trouble | undefined;
  save: (first: Progress, work: (report: (progress: Progress) => void, signal: AbortSignal) => Promise<void>) => Promise<void>;
  stop: () => void;
}

export function useDownload<Progress>(): Download<Progress> {
  const [trouble, setTrouble] = useTrouble();
  const [progress, setProgress] = useState<Progress | null>(null);
  const controller = useRef(new AbortController());
  useEffect(() => () => controller.current.abort(), []);
  return {
    progress,
    trouble,
    save: async (first, work) => {
      setTrouble(undefined);
      controller.current = new AbortController();
      setProgress(first);
      try {
        await work(setProgress, controller.current.signal);
      } catch (error) {
        if (!isAbort(error)) setTrouble(troubleOf(error));
      }
      setProgress(null);
    },
    stop: () => controller.current.abort(),
  };
}
