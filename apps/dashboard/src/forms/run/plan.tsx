// Asks the server for a plan of a model and settings while they are typed.
import { useEffect, useState } from 'preact/hooks';
import { isAbort, runService } from '../../api/client.js';
import { retryDelayMs } from '../../api/view-state.js';
import type { RunSettings } from '../../generated/espalier/v1/common_pb.js';
import { afterFailure, noPlanWords, planFacts, remedyWords, type ForkStart, type Planned } from './plan-words.js';
import { formTroubleOf } from './settings-fields.js';

const PAUSE_MS = 350;

/** @param settings converts the typed settings, or throws an error that says what is wrong */
export function usePlan(modelPath: string, key: string, settings: () => RunSettings): Planned {
  const [planned, setPlanned] = useState<Planned>({ plan: undefined, trouble: undefined });
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async (attempts: number): Promise<void> => {
      try {
        const plan = await runService.planRun({ modelPath, settings: settings() }, { signal: controller.signal });
        setPlanned({ plan, trouble: undefined });
      } catch (error) {
        if (controller.signal.aborted || isAbort(error)) return;
        const trouble = formTroubleOf(error);
        setPlanned((before) => afterFailure(before, trouble));
        const delay = retryDelayMs(trouble, attempts);
        if (delay !== null) timer = setTimeout(() => void ask(attempts + 1), delay);
      }
    };
    timer = setTimeout(() => modelPath.trim() !== '' && void ask(0), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [modelPath, key]);
  return planned;
}

export function Plan({ planned, start = null }: { planned: Planned; start?: ForkStart | null }) {
  const { plan } = planned;
  const missing = noPlanWords(planned);
  const remedy = plan === undefined ? '' : remedyWords(plan);
  return (
    <section class="plan" aria-label="What it would take" aria-live="polite">
      {missing !== '' && <p class="trouble">{missing}</p>}
      <dl>
        {planFacts(plan, start).map(({ term, value, isShort }) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd class={isShort === true ? 'short' : ''}>{value}</dd>
          </div>
        ))}
      </dl>
      {remedy !== '' && <p class="note">{remedy}</p>}
      {plan?.warnings.map(({ code, message }) => (
        <p class="note" key={code}>
          {message}
        </p>
      ))}
    </section>
  );
}
