// Shows every teacher as a model that could be exported: its size, its quality, and whether it is on the Pareto front.
import { onFront, perplexityOf, shareGone } from '../../../../../libs/comparison/src/index.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, countTick, decimal, NONE, percent, short } from '../../ui/format.js';
import { Heads } from '../../ui/heads.js';
import { Pending } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { Scatter } from '../../ui/charts/scatter.js';
import { sourceOf } from '../curves/source.js';
import { ForkButton } from '../fork-button.js';
import { LadderJobs } from './ladder-job.js';
import type { TabProps } from '../tab-props.js';
import { useTeachers } from '../teacher-data.js';

interface Rung {
  /** The mark of the teacher; null: the model before pruning, or the last state. */
  mark: number | null;
  name: string;
  stateDigest: string;
  sparsity: number;
  /** The parameters in its export as hf-remote. */
  parameters: number;
  /** The size was not recorded, so it is an estimate. */
  isEstimated: boolean;
  perplexity: number | undefined;
}

interface Size {
  parameterCount: bigint;
  estimated: boolean;
}

export function LadderTab({ run, fork }: TabProps) {
  const { snapshots, isKnown, loaded } = useTeachers(run);
  const rung = (mark: number | null, name: string, stateDigest: string, size: Size): Rung => ({
    mark,
    name,
    stateDigest,
    sparsity: shareGone({ parameterCount: run.parameterCount, result: size }),
    parameters: Number(size.parameterCount),
    isEstimated: size.estimated,
    perplexity: perplexityOf(run, stateDigest),
  });
  const result = run.result ?? { parameterCount: run.parameterCount, estimated: true };
  const teachers = snapshots
    .filter(({ abandoned, discarded, inherited }) => !abandoned && !discarded && !inherited)
    .map(({ mark, stateDigest, parameterCount, sizeEstimated }) =>
      rung(mark, `#${mark}`, stateDigest, { parameterCount, estimated: sizeEstimated }),
    );
  const isLastTeacher = teachers.some(({ stateDigest }) => stateDigest === run.stateDigest);
  const rungs = [
    rung(null, 'intact', '', { parameterCount: run.parameterCount, estimated: false }),
    ...teachers,
    ...(run.stateDigest === '' || isLastTeacher ? [] : [rung(null, 'last state', run.stateDigest, result)]),
  ];
  if (run.stateDigest === '')
    return (
      <div class="card empty">
        <h2>No state yet</h2>
        <p>Each teacher is a smaller model that can be exported. This page compares them, once there are any.</p>
      </div>
    );
  if (!isKnown) return <Pending loaded={loaded} />;
  if (run.data?.validationPath === '')
    return (
      <div class="card empty">
        <h2>No perplexity without a validation text</h2>
        <p>This run has no validation text. A fork of it can have one.</p>
      </div>
    );
  const measured = rungs.filter(({ perplexity }) => perplexity !== undefined);
  return (
    <div class="stack">
      <LadderJobs run={run} missing={rungs.length - measured.length} />
      {measured.length > 1 && <Front run={run} rungs={measured} />}
      <Rungs rungs={rungs} fork={fork} />
    </div>
  );
}

function Front({ run, rungs }: { run: Run; rungs: Rung[] }) {
  const points = rungs
    .map((one) => {
      const isAside = !onFront(one, rungs);
      return {
        x: one.parameters,
        y: one.perplexity!,
        title: `${one.name}: ${short(one.parameters)} parameters, perplexity ${decimal(one.perplexity)}`,
        ...(isAside ? { isAside } : { label: one.name }),
      };
    })
    .sort((one, other) => one.x - other.x);
  return (
    <Scatter
      title="Perplexity against size"
      about="the line joins the Pareto front: no other model is both smaller and better than one of these"
      x={{ name: 'parameters', words: countTick }}
      y={{ name: 'perplexity' }}
      lines={[{ name: 'Pareto front', points }]}
      source={sourceOf([run])}
    />
  );
}

function Rungs({ rungs, fork }: { rungs: Rung[]; fork: TabProps['fork'] }) {
  return (
    <section class="card" aria-label="Ladder">
      <header>
        <h2>Ladder</h2>
        <span class="soft">
          A star marks the Pareto front: no other model is both smaller and better. Parameters are those of exports as{' '}
          <code>hf-remote</code>. <code>espalier ladder</code> measures speed as well and exports one.
        </span>
      </header>
      <Scroll label="Ladder">
        <table class="plain num">
          <Heads
            names={['Model', 'Sparsity', 'Parameters left', 'Perplexity', 'Pareto front', 'Fork']}
            numbers={['Sparsity', 'Parameters left', 'Perplexity', 'Fork']}
          />
          <tbody>
            {rungs.map((one) => (
              <tr key={`${one.name} ${one.stateDigest}`}>
                <td>{one.name}</td>
                <td class="right">{percent(one.sparsity)}</td>
                <td class="right">{`${one.isEstimated ? 'about ' : ''}${count(one.parameters)}`}</td>
                <td class="right">{one.perplexity === undefined ? <span class="soft">not evaluated</span> : decimal(one.perplexity)}</td>
                <td>{onFront(one, rungs) ? '★' : NONE}</td>
                <td class="right">{one.mark !== null && <ForkButton mark={one.mark} fork={() => fork(one.stateDigest)} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
