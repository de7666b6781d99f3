// Shows the life of a run: which engine had it when, on one line of time, and which of its steps were computed twice, on a line of steps.
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { paintOf } from '../../ui/charts/line-looks.js';
import { clockTicksWithin, ticksWithin } from '../../ui/charts/ticks.js';
import { clock, clockTick, count, counted, countTick, duration, ends, clockName } from '../../ui/format.js';
import { TroubleNote } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { readEvents } from '../read-events.js';
import { LIFE_EVENTS, lifeOf, stretchesOf, type Attempt, type Happening, type Stretch } from './life-events.js';

const [WIDTH, LEFT, RIGHT, BAR] = [1100, 16, 24, 18];
const TONES: Readonly<Record<string, string>> = {
  RunCompleted: 'good',
  EngineLost: 'bad',
  RunFailed: 'bad',
  RunPaused: 'wait',
  RunRewound: 'wait',
};

export function Life({ run }: { run: Run }) {
  const { data, trouble } = useLoaded(`life ${run.runId}`, (signal) => readEvents(run.runId, LIFE_EVENTS, signal), `${run.revision}`);
  if (data === undefined) return <TroubleNote trouble={trouble} />;
  const { attempts, happenings } = lifeOf(data);
  return (
    <section class="card life" aria-label="Life of the run">
      <header>
        <h2>Life of the run</h2>
        <span class="soft">
          {counted(attempts.length, 'attempt')}; a bar is an engine that had the run, and a stroke is something that happened
        </span>
      </header>
      <Scroll label="Life of the run">
        <Clock attempts={attempts} happenings={happenings} />
        <Twice run={run} stretches={stretchesOf(data)} />
      </Scroll>
    </section>
  );
}

function Clock({ attempts, happenings }: { attempts: Attempt[]; happenings: Happening[] }) {
  const now = attempts.some(({ toMs }) => toMs === null) ? Date.now() : 0;
  const times = [...happenings.map(({ atMs }) => atMs), ...attempts.flatMap(({ fromMs, toMs }) => [fromMs, toMs ?? now])];
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const x = (ms: number): number => LEFT + ((ms - first) / Math.max(1, last - first)) * (WIDTH - LEFT - RIGHT);
  const engines = [...new Set(attempts.map(({ engine }) => engine))];
  return (
    <>
      <svg class="life" viewBox={`0 0 ${WIDTH} 62`} role="img" aria-label="Engines and events over time">
        {clockTicksWithin(first / 1000, last / 1000).map((at) => (
          <g key={at}>
            <line class="grid" x1={x(at * 1000)} x2={x(at * 1000)} y1={4} y2={44} />
            <text x={x(at * 1000)} y={57} text-anchor="middle">
              {clockTick(at)}
            </text>
          </g>
        ))}
        {attempts.map(({ fromMs, toMs, attempt, engine, end }) => (
          <rect
            key={attempt}
            x={x(fromMs)}
            y={12}
            width={Math.max(2, x(toMs ?? now) - x(fromMs))}
            height={BAR}
            rx={3}
            fill={paintOf(engines.indexOf(engine))}
            fill-opacity={0.55}
          >
            <title>
              {`attempt ${attempt} on ${engine}: ${duration(((toMs ?? now) - fromMs) / 1000)} from ${clock(fromMs / 1000)}`}
              {end === '' ? ', goes on' : ''}
            </title>
          </rect>
        ))}
        {happenings.map(({ atMs, type, words }, index) => (
          <line key={index} class={`stroke ${TONES[type] ?? ''}`} x1={x(atMs)} x2={x(atMs)} y1={6} y2={36}>
            <title>{`${clock(atMs / 1000)}: ${words}`}</title>
          </line>
        ))}
      </svg>
      <p class="legend">
        <span>{clockName(...ends([first / 1000, last / 1000]))}</span>
        {engines.map((engine, index) => (
          <span key={engine}>
            <svg class="swatch" viewBox="0 0 22 8" aria-hidden="true">
              <rect width="22" height="8" rx="2" fill={paintOf(index)} fill-opacity={0.55} />
            </svg>
            {engine}
          </span>
        ))}
      </p>
      <ol class="happenings num">
        {happenings.map(({ atMs, words }, index) => (
          <li key={index}>
            <span class="soft">{clock(atMs / 1000)}</span> {words}
          </li>
        ))}
      </ol>
    </>
  );
}

/** The steps that were computed twice: below the line by the engine that trained them, above it by another one. */
function Twice({ run, stretches }: { run: Run; stretches: Stretch[] }) {
  const [first, last] = [Number(run.forkedAtStep), Math.max(Number(run.step), Number(run.forkedAtStep) + 1)];
  const x = (step: number): number => LEFT + ((step - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  return (
    <>
      <h3>Steps that were computed twice</h3>
      <svg class="life" viewBox={`0 0 ${WIDTH} 62`} role="img" aria-label="Steps that were computed twice">
        {ticksWithin(first, last, false).map((step) => (
          <text key={step} x={x(step)} y={57} text-anchor="middle">
            {countTick(step)}
          </text>
        ))}
        <rect class="all-steps" x={LEFT} y={6} width={WIDTH - LEFT - RIGHT} height={34} rx={3} />
        {stretches.map(({ firstStep, endStep, agrees, engine, isOther, cause }, index) => (
          <rect
            key={index}
            class={agrees ? 'agrees' : 'differs'}
            x={x(firstStep)}
            y={isOther ? 6 : 23}
            width={Math.max(2, x(endStep) - x(firstStep))}
            height={17}
          >
            <title>
              {`steps ${count(firstStep)} to ${count(endStep - 1)}: ${agrees ? 'equal' : 'different'}, by ${engine}, ` +
                `${isOther ? 'another engine than trained them' : 'the engine that trained them'} (${cause})`}
            </title>
          </rect>
        ))}
      </svg>
      <p class="legend">
        {stretches.length === 0 ? (
          <span>None yet: the button beside the run’s name checks its record, with replay if you like.</span>
        ) : (
          <>
            <span>upper half: by another engine than trained the step; lower half: by the same one</span>
            <span>filled: equal to the record; red: different</span>
          </>
        )}
      </p>
    </>
  );
}
