// Loads the small curves of losses in the list of runs.
import { useEffect, useRef, useState } from 'preact/hooks';
import { historyService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';

const SPARK_POINTS = 48;

/** Returns the losses of the visible runs, with a few points each. A run whose losses are not loaded yet has no entry. */
export function useLosses(runs: Run[]): Map<string, number[]> {
  const known = useRef(new Map<string, { step: bigint; losses: number[] }>());
  const [, setRound] = useState(0);
  const key = runs.map(({ runId, step }) => `${runId} ${step}`).join();
  useEffect(() => {
    const controller = new AbortController();
    const missing = runs.filter(({ runId, step }) => known.current.get(runId)?.step !== step);
    const load = async (): Promise<void> => {
      for (const { runId, step } of missing) {
        const asked = { runId, maxPoints: SPARK_POINTS, quantities: ['loss'] };
        const losses = step > 1n ? (await historyService.queryCurves(asked, { signal: controller.signal })).curves[0]?.mean : [];
        known.current.set(runId, { step, losses: losses ?? [] });
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
