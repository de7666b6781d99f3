// Loads the small curves of losses in the list of runs.
import { useEffect, useRef, useState } from 'preact/hooks';
import { historyService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';

const SPARK_POINTS = 48;

/** Returns the losses of the visible runs, with a few points each. */
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
