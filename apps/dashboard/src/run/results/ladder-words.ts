// Describes the progress of the evaluation of a ladder.
import { LadderState, type LadderJob } from '../../generated/espalier/v1/run_service_pb.js';
import { count, duration } from '../../ui/format.js';

type Progress = Pick<LadderJob, 'state' | 'models' | 'evaluated' | 'etaSeconds' | 'waitingFor' | 'failure'>;

export function ladderWords({ state, models, evaluated, etaSeconds, waitingFor, failure }: Progress): string {
  const done = `${count(evaluated)} of ${count(models)} models evaluated`;
  switch (state) {
    case LadderState.RUNNING: {
      const left = etaSeconds === undefined ? '' : `, about ${duration(etaSeconds)} left`;
      return `${done}${left}${waitingFor === '' ? '' : `; the engine has to finish first: ${waitingFor}`}`;
    }
    case LadderState.CANCELLED:
      return `Cancelled: ${done}. Their values are recorded.`;
    case LadderState.FAILED:
      return `It failed: ${failure?.message ?? 'the cause is not known'} ${done}.`;
    default:
      return `${done}.`;
  }
}
