// Every teacher as a model that could be exported: how small it is, how good, and which of them are worth having.
import { useEffect, useRef, useState } from 'preact/hooks';
import { onFront } from '../../../../libs/comparison/src/index.js';
import { isAbort, runService, troubleOf, type Trouble } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { headlineOf } from '../runs/columns.js';
import { count, decimal, NONE, percent, short } from '../ui/format.js';
import { Meter, TroubleNote } from '../ui/parts.js';
import { Scatter } from '../ui/scatter.js';
import { ForkButton } from './fork-button.js';
import type { TabProps } from './tab-props.js';
import { useTeachers } from './teacher-data.js';

interface Rung {
  /** null: the model before pruning, or the last state. */
  mark: number | null;
  name: string;
  stateDigest: string;
  sparsity: number;
  /** That its export as hf-remote holds. */
  parameters: number;
  /** Its size was not recorded. */
  isEstimated: boolean;
  perplexity: number | undefined;
}

interface Size {
  parameterCount: bigint;
  estimated: boolean;
}

/** On the run's own validation text, over its own windows: as the headline is. */
function perplexityOf(run: Run, stateDigest: string): number | undefined {
  const headline = headlineOf(run);
  return run.evaluations.findLast(
    (one) =>
      one.task === 'text' &&
      one.metric === 'perplexity' &&
      one.window === run.settings?.evaluationWindow &&
      (headline === undefined
        ? one.dataPath === '' || one.dataPath === run.data?.validationPath
        : one.dataDigest === headline.dataDigest) &&
      (one.subject === 'masked' || one.subject === 'intact') &&
      one.stateDigest === stateDigest,
  )?.perplexity;
}

export function LadderTab({ run, fork }: TabProps) {
  const { snapshots } = useTeachers(run);
  const rung = (mark: number | null, name: string, stateDigest: string, sparsity: number, size: Size): Rung => ({
    mark,
    name,
    stateDigest,
    sparsity,
    parameters: Number(size.parameterCount),
    isEstimated: size.estimated,
    perplexity: perplexityOf(run, stateDigest),
  });
  const result = run.result ?? { parameterCount: run.parameterCount, estimated: true };
  const teachers = snapshots
    .filter(({ abandoned, discarded, inherited }) => !abandoned && !discarded && !inherited)
    .map(({ mark, stateDigest, hardSparsity, parameterCount, sizeEstimated }) =>
      rung(mark, `#${mark}`, stateDigest, hardSparsity, { parameterCount, estimated: sizeEstimated }),
    );
  const isLastTeacher = teachers.some(({ stateDigest }) => stateDigest === run.stateDigest);
  const rungs = [
    rung(null, 'intact', '', 0, { parameterCount: run.parameterCount, estimated: false }),
    ...teachers,
    ...(run.stateDigest === '' || isLastTeacher ? [] : [rung(null, 'last state', run.stateDigest, run.hardSparsity, result)]),
  ];
  if (run.stateDigest === '')
    return (
      <div class="card empty">
        <h2>No state yet</h2>
        <p>Once the run has teachers, each is a smaller model that can be exported. This is where they are compared.</p>
      </div>
    );
  if (run.data?.validationPath === '')
    return (
      <div class="card empty">
        <h2>Nothing to judge by</h2>
        <p>The run has no validation text, so its teachers have no perplexity. A fork can be given one.</p>
      </div>
    );
  const measured = rungs.filter(({ perplexity }) => perplexity !== undefined);
  return (
    <div class="stack">
      <Missing run={run} marks={teachers.filter(({ perplexity }) => perplexity === undefined).flatMap(({ mark }) => mark ?? [])} />
      {measured.length > 1 && <Front rungs={measured} />}
      <Rungs rungs={rungs} fork={fork} />
    </div>
  );
}

function Front({ rungs }: { rungs: Rung[] }) {
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
      about="the line joins the models that no other is at once as small and as good as"
      x={{ name: 'parameters', words: short }}
      y={{ name: 'perplexity' }}
      lines={[{ name: 'Pareto front', points }]}
    />
  );
}

function Rungs({ rungs, fork }: { rungs: Rung[]; fork: TabProps['fork'] }) {
  return (
    <section class="card" aria-label="Ladder">
      <header>
        <h2>Ladder</h2>
        <span class="soft">
          a star: no other is as small and as good; parameters of exports as <code>hf-remote</code>. <code>espalier ladder</code> measures
          speed as well and exports one
        </span>
      </header>
      <div class="in scroll">
        <table class="plain num">
          <thead>
            <tr>
              <th>Model</th>
              <th class="right">Sparsity</th>
              <th class="right">Parameters left</th>
              <th class="right">Perplexity</th>
              <th>Front</th>
              <th>
                <span class="skip">Fork</span>
              </th>
            </tr>
          </thead>
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
      </div>
    </section>
  );
}

/** Evaluates those that were not: one after the other, each recorded when it is done. */
function Missing({ run, marks }: { run: Run; marks: number[] }) {
  const [share, setShare] = useState<number | null>(null);
  const [trouble, setTrouble] = useState<Trouble>();
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  if (marks.length === 0 && share === null) return null;
  const evaluate = async (): Promise<void> => {
    stop.current = new AbortController();
    setTrouble(undefined);
    setShare(0);
    try {
      for (const [index, teacherMark] of marks.entries())
        for await (const { doneShare } of runService.evaluateRun({ runId: run.runId, teacherMark }, { signal: stop.current.signal }))
          setShare((index + doneShare) / marks.length);
    } catch (error) {
      if (!isAbort(error)) setTrouble(troubleOf(error));
    } finally {
      setShare(null);
    }
  };
  return (
    <section class="card" aria-label="Teachers without a perplexity">
      <div class="in bar">
        {share === null ? (
          <>
            <span>
              {count(marks.length)} {marks.length === 1 ? 'teacher was' : 'teachers were'} not evaluated yet.
            </span>
            <button class="main" onClick={() => void evaluate()}>
              Evaluate {marks.length === 1 ? 'it' : 'them'}
            </button>
          </>
        ) : (
          <>
            <span>Evaluating teachers</span>
            <Meter share={share} label="teachers evaluated" />
            <button onClick={() => stop.current?.abort()}>Stop</button>
          </>
        )}
      </div>
      <TroubleNote trouble={trouble} />
    </section>
  );
}
