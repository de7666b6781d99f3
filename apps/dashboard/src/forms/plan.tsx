// The server's plan for a model and settings, while somebody types them.
import { useEffect, useState } from 'preact/hooks';
import { isAbort, runService, troubleOf, type Trouble } from '../api/client.js';
import type { RunSettings } from '../generated/espalier/v1/common_pb.js';
import type { PlanRunResponse } from '../generated/espalier/v1/run_service_pb.js';
import { bytes, count, NONE, percent } from '../ui/format.js';

const PAUSE_MS = 350;

export interface Planned {
  plan: PlanRunResponse | undefined;
  trouble: Trouble | undefined;
}

/** @param settings makes them of what is typed, or says what is wrong with it */
export function usePlan(modelPath: string, key: string, settings: () => RunSettings): Planned {
  const [planned, setPlanned] = useState<Planned>({ plan: undefined, trouble: undefined });
  useEffect(() => {
    const controller = new AbortController();
    const ask = async (): Promise<void> => {
      try {
        const plan = await runService.planRun({ modelPath, settings: settings() }, { signal: controller.signal });
        setPlanned({ plan, trouble: undefined });
      } catch (error) {
        if (!isAbort(error)) setPlanned(({ plan }) => ({ plan, trouble: troubleOf(error) }));
      }
    };
    const timer = setTimeout(() => modelPath.trim() !== '' && void ask(), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [modelPath, key]);
  return planned;
}

export function Plan({ plan, trouble }: Planned) {
  const { memory, disk, settings } = plan ?? {};
  const facts: [string, string][] = [
    ['Parameters', plan === undefined ? NONE : `${count(plan.parameterCount)}, ${count(plan.prunableParameterCount)} prunable`],
    ['Result', plan?.result === undefined ? NONE : `about ${count(plan.result.parameterCount)} parameters`],
    ['Target', settings === undefined ? NONE : percent(settings.targetSparsity ?? 0)],
    ['Steps', settings === undefined ? NONE : count((settings.totalSteps ?? 0) + (settings.recoverSteps ?? 0))],
    ['Teachers', disk === undefined ? NONE : count(disk.teachers)],
    ['Memory', memory === undefined ? NONE : `${bytes(memory.totalBytes)} of ${bytes(memory.availableBytes)}`],
    ['Disk', disk === undefined ? NONE : bytes(disk.totalBytes)],
    ['Engine', plan?.engine || NONE],
  ];
  return (
    <section class="plan" aria-label="What it would take" aria-live="polite">
      <dl>
        {facts.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {plan?.warnings.map(({ code, message }) => (
        <p class="note" key={code}>
          {message}
        </p>
      ))}
      {trouble !== undefined && <p class="trouble">{trouble.message}</p>}
    </section>
  );
}
