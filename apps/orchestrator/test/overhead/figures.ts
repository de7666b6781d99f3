// Computes from the measurements what the history of a run costs. All functions are pure.
import { Random } from '../chaos/random.js';

/** A part of a run between two moments at which it was stopped, and the very same steps on a bare engine. */
export interface Turn {
  run: string;
  firstStep: number; // a fraction where the run was stopped in the middle of a step
  endStep: number;
  /** All of the run's time in the turn. */
  runSeconds: number;
  /** The part of that time inside steps. */
  runStepSeconds: number;
  bareSeconds: number;
  /** Steps that took far longer than most. The run was not stopped then: the machine was slow, or other programs used it. */
  longSteps?: { step: number; seconds: number }[];
  /**
   * The processor time of the processes that do not compute. Null before the first stop, where it would include their start, and after the
   * last.
   */
  processorMs: Record<string, number> | null;
}

/** A time in which the run was stopped. All times are milliseconds on one clock that can't be set. */
export interface Stop {
  fromMs: number;
  toMs: number;
  /** The processor time that was used up to this stop. */
  processorMs: Record<string, number>;
}

/** The time of a step as the engine notes it. A step in which the run was stopped includes the stop. */
export interface StepTime {
  step: number;
  seconds: number;
  endMs: number;
}

export interface TimedRun {
  run: string;
  startMs: number;
  endMs: number;
  stops: Stop[];
  /** One for each step, in their order. */
  steps: StepTime[];
  /** The seconds of the same steps on the bare engine, each with the change of teachers before it. */
  bareSeconds: number[];
}

/** In 95 of 100 cases the true value lies between `from` and `to`. */
interface Estimate {
  all: number;
  from: number;
  to: number;
}

export interface Figures {
  runs: number;
  turns: number;
  run_seconds: number;
  bare_seconds: number;
  overhead: Estimate;
  /** The overhead over the middle half of the turns. A machine that is slow for seconds now and then does not change it. */
  overhead_middle: Estimate;
  /** The part of the overhead that is time between steps. The rest comes from slower steps. */
  between_steps: number;
  /** Steps that took far longer than most for a reason unknown to the measurement. They count like all others. */
  long_steps: { steps: number; seconds: number };
  /** The processor time of each other process, as a share of the run's time. */
  processor: Record<string, number>;
}

interface Cut {
  step: number;
  ranMs: number;
  ownSteps: number; // the seconds inside steps up to here
  processorMs: Record<string, number> | null;
}

/** A step counts as long from this multiple of the median on. */
const LONG_STEP_TIMES = 5;

/** Cuts the run at the stops. The engine's own times tell which step each stop hit, or between which two it fell. */
export function turnsOf({ run, startMs, endMs, stops, steps, bareSeconds }: TimedRun): Turn[] {
  const own = steps.map(({ seconds, endMs: end }) => seconds - pausedMs(stops, end - seconds * 1000, end) / 1000);
  const median = [...own].sort((left, right) => left - right)[own.length >> 1] ?? 0;
  const long = steps.flatMap(({ step }, index) => (own[index]! > LONG_STEP_TIMES * median ? [{ step, seconds: round(own[index]!) }] : []));
  const ranUntil = (ms: number): number => ms - startMs - pausedMs(stops, startMs, ms);
  const cutAt = ({ fromMs, processorMs }: Stop): Cut => {
    const index = steps.findIndex((one) => one.endMs > fromMs);
    const begunMs = index === -1 ? Infinity : steps[index]!.endMs - steps[index]!.seconds * 1000;
    const done = index === -1 ? steps.length : index;
    const within = begunMs < fromMs ? (fromMs - begunMs - pausedMs(stops, begunMs, fromMs)) / 1000 : 0;
    const share = within === 0 ? 0 : within / own[index]!;
    return { step: done + share, ranMs: ranUntil(fromMs), ownSteps: sum(own.slice(0, done)) + within, processorMs };
  };
  const cuts: Cut[] = [
    { step: 0, ranMs: 0, ownSteps: 0, processorMs: null },
    ...stops.filter(({ fromMs }) => fromMs > startMs && fromMs < endMs).map(cutAt),
    { step: steps.length, ranMs: ranUntil(endMs), ownSteps: sum(own), processorMs: null },
  ];
  return cuts.slice(1).map((to, index) => {
    const from = cuts[index]!;
    return {
      run,
      firstStep: from.step,
      endStep: to.step,
      runSeconds: (to.ranMs - from.ranMs) / 1000,
      runStepSeconds: to.ownSteps - from.ownSteps,
      bareSeconds: within(bareSeconds, from.step, to.step),
      longSteps: long.filter(({ step }) => step >= from.step && step < to.step),
      processorMs: difference(from.processorMs, to.processorMs),
    };
  });
}

/**
 * The seconds of each step with the time since the step before it, in which the engine changed its teacher. Before the first step of a call
 * the engine waited for the call, and this time does not count.
 */
export function secondsWithChanges(steps: readonly StepTime[], firstOfCalls: ReadonlySet<number>): number[] {
  return steps.map(({ step, seconds, endMs }, index) =>
    index === 0 || firstOfCalls.has(step) ? seconds : (endMs - steps[index - 1]!.endMs) / 1000,
  );
}

function pausedMs(stops: Stop[], fromMs: number, toMs: number): number {
  return sum(stops.map((stop) => Math.max(0, Math.min(toMs, stop.toMs) - Math.max(fromMs, stop.fromMs))));
}

/** The seconds of the steps from `from` to `to`, with only the parts of the first and the last that lie within. */
function within(seconds: number[], from: number, to: number): number {
  return sum(seconds.map((one, step) => one * Math.max(0, Math.min(to, step + 1) - Math.max(from, step))));
}

function difference(from: Record<string, number> | null, to: Record<string, number> | null): Record<string, number> | null {
  return from === null || to === null ? null : Object.fromEntries(Object.entries(to).map(([name, ms]) => [name, ms - from[name]!]));
}

export function figuresOf(turns: Turn[]): Figures {
  const seconds = sum(turns.map(({ runSeconds }) => runSeconds));
  const bare = sum(turns.map(({ bareSeconds }) => bareSeconds));
  const counted = turns.filter(({ processorMs }) => processorMs !== null);
  const countedMs = sum(counted.map(({ runSeconds }) => runSeconds)) * 1000;
  const long = turns.flatMap(({ longSteps }) => longSteps ?? []);
  const names = Object.keys(counted[0]?.processorMs ?? {});
  return {
    runs: new Set(turns.map(({ run }) => run)).size,
    turns: turns.length,
    run_seconds: round(seconds),
    bare_seconds: round(bare),
    overhead: estimate(turns, overheadOf),
    overhead_middle: estimate(turns, middleOverheadOf),
    between_steps: round((seconds - sum(turns.map(({ runStepSeconds }) => runStepSeconds))) / bare),
    long_steps: { steps: long.length, seconds: round(sum(long.map((one) => one.seconds))) },
    processor: Object.fromEntries(
      names.map((name) => [name, round(sum(counted.map(({ processorMs }) => processorMs![name]!)) / countedMs)]),
    ),
  };
}

function overheadOf(turns: Turn[]): number {
  return sum(turns.map(({ runSeconds }) => runSeconds)) / sum(turns.map(({ bareSeconds }) => bareSeconds)) - 1;
}

function middleOverheadOf(turns: Turn[]): number {
  const ratios = turns.map(({ runSeconds, bareSeconds }) => runSeconds / bareSeconds - 1).sort((left, right) => left - right);
  const quarter = Math.floor(ratios.length / 4);
  const middle = ratios.slice(quarter, ratios.length - quarter);
  return sum(middle) / middle.length;
}

const RESAMPLES = 4_000;

/** The interval comes from many sets of as many turns, drawn from these with replacement. */
function estimate(turns: Turn[], of: (turns: Turn[]) => number): Estimate {
  const random = new Random(turns.length); // the same turns give the same figures
  const values = Float64Array.from({ length: RESAMPLES }, () => of(turns.map(() => random.pick(turns)))).sort();
  return { all: round(of(turns)), from: round(values[RESAMPLES * 0.025]!), to: round(values[RESAMPLES * 0.975]!) };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
