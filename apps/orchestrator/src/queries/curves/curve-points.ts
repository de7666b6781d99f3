// The steps of a run summed up in points. For each quantity, a point has the lowest value, the sum, the number of values, and the highest
// value.
import { LOSS_NAMES, LOSSES } from '#comparison';
import { loraLearningRate } from '../../pruning-run/method/sparsity-schedule.js';
import type { SegmentRows } from '../../views/projection/metrics-reader.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { METRIC_COLUMNS, numberAt, ROW_DOUBLES } from '../../views/projection/metrics-codec.js';

export type RunFacts = Pick<PruningRunState, 'settings'>;
type Segment = Pick<SegmentRows, 'rows' | 'endStep' | 'hardSparsity' | 'parameters' | 'recordedAtMs'>;
type ValueOf = (rows: Float64Array, at: number) => number;
interface Quantity {
  name: string;
  unit: string;
  /** Returns the function that reads the quantity's value from the row that begins at `at`; NaN where it has none. */
  of: (run: RunFacts, segment: Segment) => ValueOf;
}

const column = (name: (typeof METRIC_COLUMNS)[number]): number => METRIC_COLUMNS.indexOf(name);
const stored = (name: string, field: (typeof METRIC_COLUMNS)[number], unit = '1'): Quantity => {
  const offset = column(field);
  return { name, unit, of: () => (rows, at) => numberAt(rows, at + offset) };
};
const SECONDS = column('seconds');

export const QUANTITIES: readonly Quantity[] = [
  stored('loss', 'loss'),
  ...LOSS_NAMES.map((name) => stored(LOSSES[name].field, name)),
  stored('lagrangian', 'lagrangian'),
  stored('scheduled_sparsity', 'scheduledSparsity', 'share'),
  stored('expected_sparsity', 'expectedSparsity', 'share'),
  ofState('hard_sparsity', 'share', ({ hardSparsity }) => hardSparsity),
  ofState('parameters', '1', ({ parameters }) => parameters),
  stored('gradient_norm', 'gradientNorm'),
  {
    name: 'lora_learning_rate',
    unit: '1',
    of:
      ({ settings }) =>
      (rows, at) =>
        loraLearningRate(settings, numberAt(rows, at)),
  },
  { name: 'tokens_per_second', unit: 'tokens/s', of: tokensPerSecond },
  stored('lambda1', 'lambda1'),
  stored('lambda2', 'lambda2'),
  stored('open_heads', 'openHeads', 'heads'),
  stored('open_units', 'openUnits', 'units'),
  stored('open_hidden', 'openHidden', 'units'),
];

/** Only recorded states have deterministic masks, so only the last step of a segment has a value. */
function ofState(name: string, unit: string, valueOf: (segment: Segment) => number): Quantity {
  return { name, unit, of: (_, segment) => (rows, at) => (rows[at] === segment.endStep - 1 ? valueOf(segment) : NaN) };
}

function tokensPerSecond({ settings }: RunFacts): ValueOf {
  const tokens = settings.batchSize * settings.sequenceLength;
  return (rows, at) => {
    const seconds = numberAt(rows, at + SECONDS);
    return seconds > 0 ? tokens / seconds : NaN;
  };
}

/** A point sums up several things: first its steps, their seconds and the times when they were recorded, then each quantity. */
const STEPS = 0;
const STEP_SECONDS = 1;
const RECORDED_AT = 2;
const FIRST_QUANTITY = 3;
/** The numbers that sum up the values of one thing: the lowest value, the sum, the number of values, the highest value. */
const EACH = 4;
const WIDTH = EACH * (FIRST_QUANTITY + QUANTITIES.length);
const NOTHING = [Infinity, 0, 0, -Infinity];

export class CurvePoints {
  private data = new Float64Array(0);
  /** The first step of the first point, divided by stepsPerPoint. */
  private first = -1;
  length = 0;

  constructor(readonly stepsPerPoint: number) {}

  /** Adds the wanted steps of a segment. Steps must come in order, but the steps of one point may come in several calls. */
  add(run: RunFacts, segment: Segment, isWanted: (step: number) => boolean): void {
    const { rows, recordedAtMs } = segment;
    const quantities = QUANTITIES.map(({ of }) => of(run, segment));
    for (let from = 0; from < rows.length; from += ROW_DOUBLES) {
      const step = numberAt(rows, from);
      if (!isWanted(step)) continue;
      const at = this.pointOf(step);
      this.join(at + EACH * STEPS, step);
      this.join(at + EACH * STEP_SECONDS, numberAt(rows, from + SECONDS));
      this.join(at + EACH * RECORDED_AT, recordedAtMs / 1000);
      quantities.forEach((valueOf, index) => {
        const value = valueOf(rows, from);
        if (!Number.isNaN(value)) this.join(at + EACH * (FIRST_QUANTITY + index), value);
      });
    }
  }

  /** The points from one step to another in wider points. `stepsPerPoint` must be a multiple of this object's. */
  widened(stepsPerPoint: number, fromStep: number, toStep: number): CurvePoints {
    const wide = new CurvePoints(stepsPerPoint);
    for (let point = 0; point < this.length; point += 1) {
      const [, , steps, last] = this.summed(point, STEPS);
      const step = (this.first + point) * this.stepsPerPoint;
      if (steps === 0 || last < fromStep || step > toStep) continue;
      const at = wide.pointOf(step);
      for (let thing = 0; thing < WIDTH / EACH; thing += 1) wide.join(at + EACH * thing, ...this.summed(point, thing));
    }
    return wide;
  }

  /** The points as arrays. Points without a step are left out. */
  columns(): {
    steps: number[];
    seconds: number[];
    endedAt: number[];
    totalSteps: number;
    values(quantity: number): Record<'lowest' | 'mean' | 'highest', number[]>;
  } {
    const points = Array.from({ length: this.length }, (_, point) => point).filter((point) => this.summed(point, STEPS)[2] > 0);
    const all = (thing: number) => points.map((point) => this.summed(point, thing));
    const seconds = all(STEP_SECONDS).map(([, sum]) => sum);
    return {
      steps: all(STEPS).map(([, , , last]) => last),
      seconds,
      endedAt: endTimes(
        all(RECORDED_AT).map(([, , , last]) => last),
        seconds,
      ),
      totalSteps: all(STEPS).reduce((total, [, , steps]) => total + steps, 0),
      values: (quantity) => {
        const values = all(FIRST_QUANTITY + quantity);
        return {
          lowest: values.map(([lowest, , number]) => (number > 0 ? lowest : NaN)),
          mean: values.map(([, sum, number]) => (number > 0 ? sum / number : NaN)),
          highest: values.map(([, , number, highest]) => (number > 0 ? highest : NaN)),
        };
      },
    };
  }

  /** Joins summed values of one thing to those at this place. A single value is its own sum. */
  private join(at: number, lowest: number, sum = lowest, number = 1, highest = lowest): void {
    const { data } = this;
    data[at] = Math.min(numberAt(data, at), lowest);
    data[at + 1] = numberAt(data, at + 1) + sum;
    data[at + 2] = numberAt(data, at + 2) + number;
    data[at + 3] = Math.max(numberAt(data, at + 3), highest);
  }

  private summed(point: number, thing: number): [lowest: number, sum: number, number: number, highest: number] {
    const at = point * WIDTH + EACH * thing;
    const { data } = this;
    return [numberAt(data, at), numberAt(data, at + 1), numberAt(data, at + 2), numberAt(data, at + 3)];
  }

  private pointOf(step: number): number {
    const number = Math.floor(step / this.stepsPerPoint);
    if (this.first < 0) this.first = number;
    const point = number - this.first;
    if (point < 0) throw new RangeError(`step ${step} comes before the first one`);
    while (point >= this.length) this.append();
    return point * WIDTH;
  }

  private append(): void {
    const at = this.length * WIDTH;
    if (at + WIDTH > this.data.length) {
      const larger = new Float64Array(Math.max(64 * WIDTH, this.data.length * 2));
      larger.set(this.data);
      this.data = larger;
    }
    for (let offset = 0; offset < WIDTH; offset += EACH) this.data.set(NOTHING, at + offset);
    this.length += 1;
  }
}

/** The times when points ended. Several segments may be recorded at one time, so a point ends no later than the next one begins. */
function endTimes(recordedAt: readonly number[], seconds: readonly number[]): number[] {
  let nextBegins = Infinity;
  const ends = recordedAt.map((recorded, at) => ({ recorded, taken: seconds[at] ?? 0 })).toReversed();
  return ends
    .map(({ recorded, taken }) => {
      const end = Math.min(recorded, nextBegins);
      nextBegins = end - taken;
      return end;
    })
    .toReversed();
}
