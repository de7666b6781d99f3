// Shows the life of a run: which engine had it when, on one line of time, and which of its steps were computed twice, on a line of steps.
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { historyService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { paintOf } from '../../ui/charts/line-looks.js';
import { clockTicksWithin, ticksWithin } from '../../ui/charts/ticks.js';
import { clock, clockName, clockTick, counted, countTick, duration, ends, stepRange } from '../../ui/format.js';
import { TroubleNote } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { readEvents } from '../read-events.js';
import { joined, LIFE_EVENTS, lifeOf, lostWithServer, stretchesOf, type Gap, type Stretch } from './life-events.js';

const [WIDTH, LEFT, RIGHT, BAR] = [1100, 36, 36, 18];
/** A longer list is folded at first. */
const MOST_UNFOLDED = 12;
const TONES: Readonly<Record<string, string>> = {
  RunCompleted: 'good',
  EngineLost: 'bad',
  RunFailed: 'bad',
  RunPaused: 'wait',
  RunRewound: 'wait',
};

const GAP_WORDS: Readonly<Record<Gap['kind'], string>> = { paused: 'paused', away: 'the server was away' };

export function Life({ run }: { run: Run }) {
  const { data, trouble } = useLoaded(`life ${run.runId}`, (signal) => loadLife(run.runId, signal), `${run.revision}`);
  if (data === undefined) return <TroubleNote trouble={trouble} />;
  return (
    <section class="card life" aria-label="Life of the run">
      <header>
        <h2>Life of the run</h2>
        <span class="soft">
          {counted(data.attempts.length, 'attempt')} with an engine; a bar is an engine that had the run, and a stroke is something that
          happened
        </span>
      </header>
      <Scroll label="Life of the run">
        <Clock {...data} />
        <Twice run={run} stretches={data.stretches} />
      </Scroll>
    </section>
  );
}

async function loadLife(runId: string, signal: AbortSignal) {
  const events = await readEvents(runId, LIFE_EVENTS, signal);
  const before = await Promise.all(
    lostWithServer(events).map(async (revision) => {
      const answer = await historyService.readHistory({ runId, fromRevision: revision - 1n, pageSize: 1 }, { signal });
      return answer.events.flatMap(({ recordedAt }) => (recordedAt === undefined ? [] : [[revision, timestampMs(recordedAt)] as const]));
    }),
  );
  return { ...lifeOf(events, new Map(before.flat())), stretches: stretchesOf(events) };
}

function Clock({ attempts, gaps, happenings }: ReturnType<typeof lifeOf>) {
  const now = [...attempts, ...gaps].some(({ toMs }) => toMs === null) ? Date.now() : 0;
  const times = [...happenings.map(({ atMs }) => atMs), ...[...attempts, ...gaps].flatMap(({ fromMs, toMs }) => [fromMs, toMs ?? now])];
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const x = (ms: number): number => LEFT + ((ms - first) / Math.max(1, last - first)) * (WIDTH - LEFT - RIGHT);
  const placed = ({ fromMs, toMs }: { fromMs: number; toMs: number | null }) => {
    return { x: x(fromMs), y: 12, width: Math.max(2, x(toMs ?? now) - x(fromMs)), height: BAR, rx: 3 };
  };
  const spanWords = (fromMs: number, toMs: number | null): string =>
    `${duration(((toMs ?? now) - fromMs) / 1000)} from ${clock(fromMs / 1000)}${toMs === null ? ', goes on' : ''}`;
  const engines = [...new Set(attempts.map(({ engine }) => engine))];
  const kinds = [...new Set(gaps.map(({ kind }) => kind))];
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
        {gaps.map(({ fromMs, toMs, kind }) => (
          <rect key={fromMs} class={`gap ${kind}`} {...placed({ fromMs, toMs })}>
            <title>{`${GAP_WORDS[kind]}: ${spanWords(fromMs, toMs)}`}</title>
          </rect>
        ))}
        {attempts.map(({ fromMs, toMs, attempt, engine }) => (
          <rect key={attempt} {...placed({ fromMs, toMs })} fill={paintOf(engines.indexOf(engine))} fill-opacity={0.55}>
            <title>{`attempt ${attempt} on ${engine}: ${spanWords(fromMs, toMs)}`}</title>
          </rect>
        ))}
        {happenings.map(({ atMs, type, words }, index) =>
          type === 'EngineAttached' ? null : ( // its bar begins there
            <line key={index} class={`stroke ${TONES[type] ?? ''}`} x1={x(atMs)} x2={x(atMs)} y1={6} y2={36}>
              <title>{`${clock(atMs / 1000)}: ${words}`}</title>
            </line>
          ),
        )}
      </svg>
      <p class="legend">
        <span>{clockName(...ends([first / 1000, last / 1000]))}</span>
        {engines.map((engine, index) => (
          <span key={engine}>
            <Bar fill={paintOf(index)} fill-opacity={0.55} />
            {engine}
          </span>
        ))}
        {kinds.map((kind) => (
          <span key={kind}>
            <Bar class={`gap ${kind}`} />
            {GAP_WORDS[kind]}
          </span>
        ))}
      </p>
      <details open={happenings.length <= MOST_UNFOLDED}>
        <summary>In words</summary>
        <ol class="happenings num">
          {happenings.map(({ atMs, words }, index) => (
            <li key={index}>
              <span class="soft">{clock(atMs / 1000)}</span> {words}
            </li>
          ))}
        </ol>
      </details>
    </>
  );
}

function Bar(look: { class?: string; fill?: string; 'fill-opacity'?: number }) {
  return (
    <svg class="swatch" viewBox="0 0 22 8" aria-hidden="true">
      <rect width="22" height="8" rx="2" {...look} />
    </svg>
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
        {stretches.map((one, index) => (
          <rect
            key={index}
            class={one.agrees ? 'agrees' : 'differs'}
            x={x(one.firstStep)}
            y={one.isOther ? 6 : 23}
            width={Math.max(2, x(one.endStep) - x(one.firstStep))}
            height={17}
          >
            <title>{stretchWords(one)}</title>
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
      <ol class="happenings num" aria-label="Steps that were computed twice, in words">
        {joined(stretches).map((one, index) => (
          <li key={index}>{stretchWords(one)}</li>
        ))}
      </ol>
    </>
  );
}

const stretchWords = ({ firstStep, endStep, agrees, engine, isOther, cause }: Stretch): string =>
  `${endStep - firstStep > 1 ? 'steps' : 'step'} ${stepRange(firstStep, endStep)}: ${agrees ? 'equal' : 'different'}, by ${engine}, ` +
  `${isOther ? 'another engine than trained them' : 'the engine that trained them'} (${cause})`;
