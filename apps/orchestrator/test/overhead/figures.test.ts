import { figuresOf, secondsWithChanges, turnsOf, type Stop, type Turn } from './figures.js';

const STEP_S = 0.05;
const START_MS = 1_000_000;

/** A run of equal steps with a pause after each, stopped for 2 s at these moments of its own time, in seconds since its start. */
function madeRun({ steps, pauseS, stopsAt }: { steps: number; pauseS: number; stopsAt: number[] }): Parameters<typeof turnsOf>[0] {
  const stopS = 2;
  const onClock = (atS: number): number => START_MS + (atS + stopsAt.filter((stop) => stop < atS).length * stopS) * 1000;
  const times = Array.from({ length: steps }, (_, step) => {
    const from = step * (STEP_S + pauseS);
    return { step, seconds: (onClock(from + STEP_S) - onClock(from)) / 1000, endMs: onClock(from + STEP_S) };
  });
  const stops: Stop[] = stopsAt.map((at, index) => {
    const fromMs = START_MS + (at + index * stopS) * 1000;
    return { fromMs, toMs: fromMs + stopS * 1000, processorMs: { orchestrator: index * 30 } };
  });
  const endMs = START_MS + (steps * (STEP_S + pauseS) + stopsAt.length * stopS) * 1000;
  return { run: 'r', startMs: START_MS, endMs, stops, steps: times, bareSeconds: Array.from({ length: steps }, () => 0.04) };
}

const sumOf = (turns: Turn[], field: 'runSeconds' | 'runStepSeconds' | 'bareSeconds'): number =>
  turns.reduce((sum, turn) => sum + turn[field], 0);
const endsOf = (turns: Turn[]): number[] => turns.map(({ endStep }) => Number(endStep.toFixed(6)));

test('the time between two steps of a call belongs to the second, and the wait for a call to no step', () => {
  const steps = [
    { step: 0, seconds: 0.5, endMs: 10_500 },
    { step: 1, seconds: 0.5, endMs: 11_250 },
    { step: 2, seconds: 0.5, endMs: 19_000 },
    { step: 3, seconds: 0.5, endMs: 19_500 },
  ];
  expect(secondsWithChanges(steps, new Set([0, 2]))).toEqual([0.5, 0.75, 0.5, 0.5]);
});

describe('the turns of a run that was stopped', () => {
  it('hold all of its time and each of its steps once, without the stops', () => {
    const turns = turnsOf(madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01, 6.03, 9.02] }));
    expect(sumOf(turns, 'runSeconds')).toBeCloseTo(200 * 0.055);
    expect(sumOf(turns, 'runStepSeconds')).toBeCloseTo(200 * STEP_S);
    expect(sumOf(turns, 'bareSeconds')).toBeCloseTo(200 * 0.04);
    expect(turns[0]!.runSeconds).toBeCloseTo(3.01);
    expect(endsOf(turns)).toEqual([54.8, 109.7, 164, 200]); // the last stop came just when a step began
    expect(turns[1]!.bareSeconds).toBeCloseTo(54.9 * 0.04);
  });
  it('end between two steps where the stop hit none', () => {
    const turns = turnsOf(madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01, 6.048, 9.02] }));
    expect(endsOf(turns)).toEqual([54.8, 110, 164, 200]);
    expect(turns[1]!.runSeconds).toBeCloseTo(6.048 - 3.01);
    expect(sumOf(turns, 'runSeconds')).toBeCloseTo(200 * 0.055);
    expect(sumOf(turns, 'runStepSeconds')).toBeCloseTo(200 * STEP_S);
  });
  it('are told apart where two stops hit one step', () => {
    const turns = turnsOf(madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01, 3.02] }));
    expect(endsOf(turns)).toEqual([54.8, 55, 200].map((end, index) => (index === 1 ? 54.8 + 0.01 / STEP_S : end)));
    expect(sumOf(turns, 'runStepSeconds')).toBeCloseTo(200 * STEP_S);
  });
  it('say what the processes used between two stops', () => {
    const turns = turnsOf(madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01, 6.048, 9.02] }));
    expect(turns.map(({ processorMs }) => processorMs)).toEqual([null, { orchestrator: 30 }, { orchestrator: 30 }, null]);
  });
  it('leave out stops before its start and after its end', () => {
    const made = madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01] });
    made.stops.unshift({ fromMs: START_MS - 3000, toMs: START_MS - 1000, processorMs: { orchestrator: 0 } });
    made.stops.push({ fromMs: made.endMs + 10, toMs: Infinity, processorMs: { orchestrator: 90 } });
    const turns = turnsOf(made);
    expect(endsOf(turns)).toEqual([54.8, 200]);
    expect(sumOf(turns, 'runSeconds')).toBeCloseTo(200 * 0.055);
  });
  it('name a step that took long though the run was not stopped, and count it', () => {
    const made = madeRun({ steps: 200, pauseS: 0.005, stopsAt: [3.01] });
    made.steps.forEach((one, index) => {
      if (index === 150) one.seconds += 3;
      if (index >= 150) one.endMs += 3_000;
    });
    made.endMs += 3_000;
    const turns = turnsOf(made);
    expect(turns.map(({ longSteps }) => longSteps)).toEqual([[], [{ step: 150, seconds: 3.05 }]]);
    expect(sumOf(turns, 'runStepSeconds')).toBeCloseTo(200 * STEP_S + 3);
    expect(figuresOf(turns).long_steps).toEqual({ steps: 1, seconds: 3.05 });
  });
});

describe('the figures of many turns', () => {
  /** Turns of 3 s on the bare engine. Those of the run are longer by the overhead and by noise. */
  function madeTurns(count: number, overhead: number, noise: number): Turn[] {
    return Array.from({ length: count }, (_, index) => {
      const runSeconds = 3 * (1 + overhead + (index % 2 === 0 ? noise : -noise));
      return {
        run: `run ${index % 3}`,
        firstStep: 0,
        endStep: 60,
        runSeconds,
        runStepSeconds: runSeconds - 0.03,
        bareSeconds: 3,
        processorMs: index === 0 ? null : { store: 30 },
      };
    });
  }

  it('give the overhead of all of them and an interval around it', () => {
    const figures = figuresOf(madeTurns(60, 0.02, 0.04));
    expect(figures).toMatchObject({ runs: 3, turns: 60, overhead: { all: 0.02 }, between_steps: 0.01 });
    // The standard error of 60 turns that differ by 4% is 0.52%.
    expect(Math.abs(figures.overhead.from - (0.02 - 1.96 * 0.0052))).toBeLessThan(0.002);
    expect(Math.abs(figures.overhead.to - (0.02 + 1.96 * 0.0052))).toBeLessThan(0.002);
    expect(figures.processor['store']).toBeCloseTo(0.0098, 3);
  });
  it('weigh turns by their length', () => {
    const [long, short] = madeTurns(2, 0, 0);
    expect(
      figuresOf([
        { ...long!, runSeconds: 9.9, bareSeconds: 9 },
        { ...short!, runSeconds: 1, bareSeconds: 1 },
      ]).overhead.all,
    ).toBeCloseTo(0.09);
  });
  it('tell what holds for most turns where a few were much slower', () => {
    const turns = madeTurns(60, 0.02, 0).map((turn, index) => (index % 10 === 0 ? { ...turn, runSeconds: turn.runSeconds * 1.4 } : turn));
    const { overhead, overhead_middle: middle } = figuresOf(turns);
    expect(overhead.all).toBeCloseTo(0.061, 3);
    expect(middle).toEqual({ all: 0.02, from: 0.02, to: 0.02 });
  });
  it('are narrower the more turns there are, and the same each time', () => {
    const width = (count: number): number => {
      const { from, to } = figuresOf(madeTurns(count, 0.02, 0.04)).overhead;
      return to - from;
    };
    expect(width(400)).toBeLessThan(0.6 * width(100));
    expect(figuresOf(madeTurns(40, 0.02, 0.04))).toEqual(figuresOf(madeTurns(40, 0.02, 0.04)));
  });
});
