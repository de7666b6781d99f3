// Who instructed when, over the steps; below it every teacher that the run can be forked at.
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { endOf } from '../runs/columns.js';
import { count, percent } from '../ui/format.js';
import type { Range } from './curve-data.js';
import type { Assignment, Teachers } from './teacher-data.js';

const nameOf = ({ mark }: Assignment): string => (mark === null ? 'nobody' : mark === 0 ? 'intact model' : `teacher #${mark}`);

interface Props {
  run: Run;
  teachers: Teachers;
  range: Range | null;
  fork: (stateDigest: string) => void;
}

export function Timeline({ run, teachers: { snapshots, assignments }, range, fork }: Props) {
  if (assignments.length === 0 && snapshots.length === 0) return null;
  const from = range?.from ?? Number(run.forkedAtStep);
  const to = Math.min(range?.to ?? Number(endOf(run)), Number(endOf(run)));
  const place = (step: number): number => (100 * (step - from)) / Math.max(1, to - from);
  const inside = (step: number): boolean => step >= from && step <= to;
  return (
    <section class="card timeline-card" aria-label="Teachers over the steps">
      <header>
        <h3>Teachers</h3>
        <span class="soft">who instructed when; a stroke is a teacher to fork from</span>
      </header>
      <div class="in">
        <div class="timeline">
          {assignments.map((one) => {
            const [start, end] = [Math.max(0, place(one.fromStep)), Math.min(100, place(one.endStep))];
            if (end <= start) return null;
            return (
              <div
                key={one.fromStep}
                class={`span ${one.mark === 0 ? 'intact' : ''}`}
                style={{ left: `${start}%`, width: `${end - start}%` }}
                title={`${nameOf(one)}, steps ${count(one.fromStep)} to ${count(one.endStep - 1)}: ${one.why}`}
              >
                <span>{one.mark === null || one.mark === 0 ? nameOf(one) : `#${one.mark}`}</span>
              </div>
            );
          })}
          {snapshots
            .filter(({ step, discarded }) => inside(Number(step)) && !discarded)
            .map(({ mark, step, expectedSparsity, stateDigest, abandoned }) => (
              <button
                key={`${stateDigest} ${step}`}
                class={`snapshot ${abandoned ? 'abandoned' : ''}`}
                style={{ left: `${place(Number(step))}%` }}
                title={`Teacher #${mark}: step ${count(step)}, ${percent(expectedSparsity)}${abandoned ? ', abandoned' : ''}`}
                aria-label={`Fork at teacher ${mark}, step ${step}, sparsity ${percent(expectedSparsity)}`}
                onClick={() => fork(stateDigest)}
              />
            ))}
        </div>
        <p class="axis">
          <span>step {count(from)}</span>
          <span>{count(to)}</span>
        </p>
      </div>
    </section>
  );
}
