// Shows every snapshot as a row, with the steps that it taught.
import { gainWords, perplexityOf } from '../../../../libs/comparison/src/index.js';
import { runService } from '../api/client.js';
import { useLoaded } from '../api/loaded-data.js';
import type { LineageNode, Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { bytes, count, decimal, NONE, percent, short, time } from '../ui/format.js';
import { Pending } from '../ui/pending.js';
import { Anchor } from '../ui/router.js';
import { Scroll } from '../ui/scroll.js';
import { ForkButton } from './fork-button.js';
import type { TabProps } from './tab-props.js';
import { useTeachers } from './teacher-data.js';
import { Timeline } from './curves/timeline.js';

export function TeachersTab({ run, fork }: TabProps) {
  const teachers = useTeachers(run);
  const { snapshots, assignments, isKnown, loaded } = teachers;
  const family = useLoaded(`forks ${run.runId}`, async (signal) => (await runService.getLineage({ runId: run.runId }, { signal })).tree);
  const forks = family.data?.filter(({ parentRunId }) => parentRunId === run.runId) ?? [];
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
            <thead>
              <tr>
                <th>Mark</th>
                <th class="right">Step</th>
                <th class="right">Expected sparsity</th>
                <th class="right">Hard sparsity</th>
                <th class="right">Parameters left</th>
                <th class="right">Perplexity</th>
                <th>Teacher of steps</th>
                <th class="right">Exports as</th>
                <th class="right">Decodes</th>
                <th>Forks</th>
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
                  weightBytes,
                  sizeEstimated,
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
                    <td class="right">{weightBytes > 0n ? `${sizeEstimated ? 'about ' : ''}${bytes(weightBytes)}` : NONE}</td>
                    <td class="right">{decodingOf(run, stateDigest)}</td>
                    <td>
                      <Forks forks={forks.filter(({ forkedAtStep }) => forkedAtStep === step && !abandoned)} />
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

/** The measured speed of a teacher as a smaller model, beside the model before pruning. */
function decodingOf({ speeds }: Run, stateDigest: string): string {
  const gain = speeds.findLast((one) => one.stateDigest === stateDigest)?.decode;
  return gain === undefined ? NONE : gainWords(gain);
}

function Forks({ forks }: { forks: LineageNode[] }) {
  if (forks.length === 0) return <>{NONE}</>;
  return (
    <>
      {forks.map((node) => (
        <Anchor key={node.runId} to={`/runs/${node.runId}`}>
          {nameOf(node)}{' '}
        </Anchor>
      ))}
    </>
  );
}
