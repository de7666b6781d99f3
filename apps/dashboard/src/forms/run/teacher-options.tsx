// The options of a list of a run's teachers, the newest first.
import { perplexityOf } from '../../../../../libs/comparison/src/index.js';
import type { Teacher } from '../../generated/espalier/v1/common_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, decimal, percent } from '../../ui/format.js';

/** @param abandonedWords the words after a teacher of an abandoned branch */
export function teacherOptions(run: Run, teachers: readonly Teacher[] | undefined, abandonedWords: string) {
  return [...(teachers ?? [])].reverse().map(({ mark, step, expectedSparsity, stateDigest, abandoned }) => (
    <option key={`${stateDigest} ${step}`} value={stateDigest}>
      teacher #{mark}, step {count(step)}, {percent(expectedSparsity)}
      {perplexityOf(run, stateDigest) !== undefined && `, perplexity ${decimal(perplexityOf(run, stateDigest))}`}
      {abandoned && abandonedWords}
    </option>
  ));
}
