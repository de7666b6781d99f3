// Shows every snapshot as a row, with the steps that it taught.
import { perplexityOf } from '../../../../libs/comparison/src/index.js';
import { bytes, count, decimal, NONE, percent, short, time } from '../ui/format.js';
import { Pending } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { ForkButton } from './fork-button.js';
import type { TabProps } from './tab-props.js';
import { useTeachers } from './teacher-data.js';
import { Timeline } from './curves/timeline.js';

export function TeachersTab({ run, fork }: TabProps) {
  const teachers = useTeachers(run);
  const { snapshots, assignments, isKnown, loaded } = teachers;
  if (!isKnown) return <Pending loaded={loaded} />;
  if (snapshots.length === 0 && assignments.length === 0)
    return (
      <div class="card empty">
        <h2>No teacher yet</h2>
        <p>The first one is snapshotted when the expected sparsity reaches its first mark.</p>
      </div>
    );
  return (
    <>
      <Timeline run={run} teachers={teachers} range={null} fork={fork} />
      <section class="card" aria-label="Snapshots">
        <header>
          <h2>Snapshots</h2>
          <span class="soft">each is a whole state, from which a run can be forked or resumed</span>
        </header>
        <Scroll label="Snapshots">
          <table class="plain num">
            <thead>
              <tr>
                <th>Mark</th>
                <th class="right">Step</th>
                <th class="right">Expected sparsity</th>
                <th class="right">Hard sparsity</th>
                <th class="right">Parameters left</th>
                <th class="right">Perplexity</th>
                <th>Teacher of steps</th>
                <th class="right">State on disk</th>
                <th>Taken</th>
                <th class="right">Fork</th>
              </tr>
            </thead>
            <tbody>
              {snapshots.map(
                ({
                  mark,
                  step,
                  expectedSparsity,
                  hardSparsity,
                  stateDigest,
                  snapshottedAt,
                  abandoned,
                  inherited,
                  discarded,
                  bytes: size,
                  parameterCount,
                }) => (
                  <tr key={`${stateDigest} ${step}`}>
                    <td>
                      #{mark}{' '}
                      <span class="soft">
                        {[abandoned && 'abandoned', inherited && "a parent's", discarded && 'removed'].filter(Boolean).join(', ')}
                      </span>
                    </td>
                    <td class="right">{count(step)}</td>
                    <td class="right">{percent(expectedSparsity)}</td>
                    <td class="right">{percent(hardSparsity)}</td>
                    <td class="right">{parameterCount > 0n ? short(Number(parameterCount)) : NONE}</td>
                    <td class="right">{decimal(perplexityOf(run, stateDigest))}</td>
                    <td>
                      {assignments
                        .filter((one) => one.mark === mark && !abandoned)
                        .map(({ fromStep, endStep }) => `${count(fromStep)}–${count(endStep - 1)}`)
                        .join(', ') || NONE}
                    </td>
                    <td class="right">{bytes(size)}</td>
                    <td>{time(snapshottedAt)}</td>
                    <td class="right">{!discarded && <ForkButton mark={mark} fork={() => fork(stateDigest)} />}</td>
                  </tr>
                ),
              )}
            </tbody>
          </table>
        </Scroll>
      </section>
    </>
  );
}
