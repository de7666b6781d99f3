// Asks the server for the plan of a launch or a fork while its values are typed.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { useEffect, useState } from 'preact/hooks';
import { isAbort, runService } from '../../api/client.js';
import { retryDelayMs } from '../../api/view-state.js';
import type { PlanRunRequestSchema } from '../../generated/espalier/v1/run_service_pb.js';
import { afterFailure, noPlanWords, planFacts, remedyWords, type Planned } from './plan-words.js';
import { formTroubleOf } from './settings-fields.js';

const PAUSE_MS = 350;

/**
 * @param key the typed values, or '' where they are not enough for a plan
 * @param request makes a request of the values, or throws an error that says what is wrong
 */
export function usePlan(key: string, request: () => MessageInitShape<typeof PlanRunRequestSchema>): Planned {
  const [planned, setPlanned] = useState<Planned>({ plan: undefined, trouble: undefined });
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async (attempts: number): Promise<void> => {
      try {
        const plan = await runService.planRun(request(), { signal: controller.signal });
        setPlanned({ plan, trouble: undefined });
      } catch (error) {
        if (controller.signal.aborted || isAbort(error)) return;
        const trouble = formTroubleOf(error);
        setPlanned((before) => afterFailure(before, trouble));
        const delay = retryDelayMs(trouble, attempts);
        if (delay !== null) timer = setTimeout(() => void ask(attempts + 1), delay);
      }
    };
    timer = setTimeout(() => key !== '' && void ask(0), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return planned;
}

export function Plan({ planned }: { planned: Planned }) {
  const { plan } = planned;
  const missing = noPlanWords(planned);
  const remedy = plan === undefined ? '' : remedyWords(plan);
  return (
    <section class="plan" aria-label="What it would take" aria-live="polite">
      {missing !== '' && <p class="trouble">{missing}</p>}
      <dl>
        {planFacts(planned).map(({ term, value, isShort }) => (
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
