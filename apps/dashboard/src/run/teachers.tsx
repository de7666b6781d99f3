// Shows every snapshot as a row, with the steps that it taught.
import { perplexityOf } from '../../../../libs/comparison/src/index.js';
import type { Teacher } from '../generated/espalier/v1/common_pb.js';
import type { LineageNode, Run } from '../generated/espalier/v1/run_service_pb.js';
import { bytes, count, decimal, NONE, percent, short, stepRange, time } from '../ui/format.js';
import { Heads } from '../ui/heads.js';
import { Pending } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { ForkButton } from './fork-button.js';
import type { TabProps } from './tab-props.js';
import { decodingWords, exportWords, forksAt, useForks, useTeachers } from './teacher-data.js';
import { Forks } from './fork-links.js';
import type { Assignment } from './curves/marks.js';
import { Timeline } from './curves/timeline.js';

export function TeachersTab({ run, fork }: TabProps) {
  const teachers = useTeachers(run);
  const { snapshots, assignments, isKnown, loaded } = teachers;
  const forks = useForks(run);
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
      <section class="card" aria-label="Teachers over the steps">
        <header>
          <h2>Teachers</h2>
        </header>
        <Timeline run={run} teachers={teachers} range={null} fork={fork} />
      </section>
      <section class="card below" aria-label="Snapshots">
        <header>
          <h2>Snapshots</h2>
          <span class="soft">each is a whole state, from which a run can be forked or resumed</span>
        </header>
        <Scroll label="Snapshots">
          <table class="plain num">
            <Heads
              names={[
                'Mark',
                'Step',
                'Expected sparsity',
                'Hard sparsity',
                'Parameters left',
                'Perplexity',
                'Teacher of steps',
                'Exports as',
                'Decodes',
                'Forks',
                'State on disk',
                'Taken',
                'Fork',
              ]}
              numbers={[
                'Step',
                'Expected sparsity',
                'Hard sparsity',
                'Parameters left',
                'Perplexity',
                'Exports as',
                'Decodes',
                'State on disk',
                'Fork',
              ]}
            />
            <tbody>
              {snapshots.map((one) => (
                <Row key={`${one.stateDigest} ${one.step}`} {...{ run, one, assignments, fork }} forks={forksAt(forks, one)} />
              ))}
            </tbody>
          </table>
        </Scroll>
      </section>
    </>
  );
}

interface RowProps {
  run: Run;
  one: Teacher;
  assignments: readonly Assignment[];
  forks: LineageNode[];
  fork: TabProps['fork'];
}

function Row({ run, one, assignments, forks, fork }: RowProps) {
  const { mark, stateDigest, abandoned, discarded, parameterCount } = one;
  return (
    <tr>
      <td>
        #{mark}{' '}
        <span class="soft">
          {[abandoned && 'abandoned', one.inherited && "a parent's", discarded && 'removed'].filter(Boolean).join(', ')}
        </span>
      </td>
      <td class="right">{count(one.step)}</td>
      <td class="right">{percent(one.expectedSparsity)}</td>
      <td class="right">{percent(one.hardSparsity)}</td>
      <td class="right">{parameterCount > 0n ? short(Number(parameterCount)) : NONE}</td>
      <td class="right">{decimal(perplexityOf(run, stateDigest))}</td>
      <td>
        {assignments
          .filter((other) => other.mark === mark && !abandoned)
          .map(({ fromStep, endStep }) => stepRange(fromStep, endStep))
          .join(', ') || NONE}
      </td>
      <td class="right">{exportWords(one) ?? NONE}</td>
      <td class="right">{decodingWords(run, one) ?? NONE}</td>
      <td>{forks.length === 0 ? NONE : <Forks forks={forks} />}</td>
      <td class="right">{bytes(one.bytes)}</td>
      <td class="whole">{time(one.snapshottedAt)}</td>
      <td class="right">{!discarded && <ForkButton mark={mark} fork={() => fork(stateDigest)} />}</td>
    </tr>
  );
}
