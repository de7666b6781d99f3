// Shows the teacher of each step. Below it each snapshot has a stroke, and one of them can be chosen to fork from.
import { perplexityOf } from '../../../../../libs/comparison/src/index.js';
import { useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { RunService, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { endOf } from '../../runs/columns.js';
import { count, decimal, percent, short, stepRange } from '../../ui/format.js';
import { Anchor } from '../../ui/router.js';
import { useWidth } from '../../ui/use-width.js';
import type { Range } from './curve-data.js';
import { labelsThatFit } from './block-labels.js';
import { teacherName, type Assignment } from './marks.js';
import { Forks } from '../fork-links.js';
import { decodingWords, exportWords, forksAt, useForks, type LoadedTeachers } from '../teacher-data.js';

interface Props {
  run: Run;
  teachers: LoadedTeachers;
  range: Range | null;
  fork: (stateDigest: string) => void;
}

export function Timeline({ run, teachers: { snapshots, assignments, isKnown }, range, fork }: Props) {
  const [chosen, setChosen] = useState<number | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const { width, measured } = useWidth();
  const from = range?.from ?? Number(run.forkedAtStep);
  const to = Math.min(range?.to ?? Number(endOf(run)), Number(endOf(run)));
  const place = (step: number): number => (100 * (step - from)) / Math.max(1, to - from);
  const inside = snapshots.filter(({ step, discarded }) => Number(step) >= from && Number(step) <= to && !discarded);
  const lastCounted = inside.findLastIndex(({ abandoned }) => !abandoned);
  const at = Math.min(hovered ?? chosen ?? (lastCounted < 0 ? inside.length - 1 : lastCounted), inside.length - 1);
  /** Returns the index of the stroke that is nearest to the mouse or the finger. */
  const nearest = (event: MouseEvent & { currentTarget: Element }): number => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    const distance = (index: number): number => Math.abs(place(Number(inside[index]!.step)) - (100 * (event.clientX - left)) / width);
    return inside.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0);
  };
  const blocks = assignments.map((one) => ({ at: Math.max(0, place(one.fromStep)), end: place(one.endStep), words: blockWords(one) }));
  const labels = labelsThatFit(
    blocks.filter(({ at, end }) => end > at && at < 100),
    width,
  );
  return (
    <div class="in timeline-of-teachers">
      <p class="soft">The teacher of each step. Each stroke is a snapshot, which can teach.</p>
      <div class="timeline" ref={measured}>
        {assignments.map((one) => {
          const [start, end] = [Math.max(0, place(one.fromStep)), Math.min(100, place(one.endStep))];
          if (end <= start) return null;
          return (
            <div
              key={one.fromStep}
              class={`span ${one.mark === 0 ? 'intact' : ''}`}
              style={{ left: `${start}%`, width: `${end - start}%` }}
              title={`${teacherName(one)}, steps ${stepRange(one.fromStep, one.endStep)}: ${one.why}`}
            />
          );
        })}
        {labels.map(({ at, words }) => (
          <span key={at} class="label" style={{ left: `${at}%` }}>
            {words}
          </span>
        ))}
        <div
          class="strokes"
          aria-hidden="true"
          onMouseMove={(event) => inside.length > 0 && setHovered(nearest(event))}
          onMouseLeave={() => setHovered(null)}
          onClick={(event) => inside.length > 0 && setChosen(nearest(event))}
        >
          {inside.map(({ step, stateDigest, abandoned }, index) => (
            <span
              key={`${stateDigest} ${step}`}
              class={`snapshot ${abandoned ? 'abandoned' : ''} ${index === at ? 'chosen' : ''}`}
              style={{ left: `${place(Number(step))}%` }}
            />
          ))}
        </div>
      </div>
      <p class="axis">
        <span>step {count(from)}</span>
        <span>{count(to)}</span>
      </p>
      <div class="chosen-teacher num">
        {inside.length === 0 ? (
          <span class="soft">{isKnown ? 'No snapshot in these steps yet.' : 'Loading …'}</span>
        ) : (
          <Chosen run={run} inside={inside} at={at} choose={setChosen} fork={fork} />
        )}
      </div>
    </div>
  );
}

const blockWords = (one: Assignment): string => (one.mark === 0 ? 'intact' : one.mark === null ? teacherName(one) : `#${one.mark}`);

type ChosenProps = Pick<Props, 'run' | 'fork'> & {
  inside: LoadedTeachers['snapshots'];
  at: number;
  choose: (index: number) => void;
};

function Chosen({ run, inside, at, choose, fork }: ChosenProps) {
  const one = inside[at]!;
  const { mark, step, expectedSparsity, parameterCount, stateDigest, abandoned } = one;
  const forks = forksAt(useForks(run), one);
  const [exported, decoding] = [exportWords(one), decodingWords(run, one)];
  const perplexity = perplexityOf(run, stateDigest);
  const facts = [
    `step ${count(step)}`,
    `sparsity ${percent(expectedSparsity)}`,
    ...(parameterCount > 0n ? [`${short(Number(parameterCount))} parameters`] : []),
    perplexity === undefined ? 'perplexity not known' : `perplexity ${decimal(perplexity)}`,
    ...(exported === undefined ? [] : [`exports as ${exported}`]),
    ...(decoding === undefined ? [] : [`decodes ${decoding}`]),
    ...(abandoned ? ['abandoned'] : []),
  ];
  return (
    <>
      <label class="slide">
        <span>Teacher</span>
        <input
          type="range"
          min={0}
          max={inside.length - 1}
          value={at}
          aria-valuetext={`teacher ${mark}, ${facts.join(', ')}`}
          onInput={({ currentTarget }) => choose(Number(currentTarget.value))}
        />
        <b>#{mark}</b>
      </label>
      <span>
        {facts.join(' · ')}
        {forks.length > 0 && (
          <>
            {' · forked: '}
            <Forks forks={forks} />
          </>
        )}
      </span>
      {perplexity === undefined && run.data?.validationPath !== '' && (
        <May call={RunService.method.startJob}>
          <Anchor to={`/runs/${run.runId}/ladder`}>Evaluate the teachers</Anchor>
        </May>
      )}
      <May call={RunService.method.forkRun}>
        <button onClick={() => fork(stateDigest)}>Fork at teacher {mark}</button>
      </May>
    </>
  );
}
