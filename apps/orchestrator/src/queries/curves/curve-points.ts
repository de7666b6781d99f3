// The steps of a run summed up in points. For each quantity, a point has the lowest value, the sum, the number of values, and the highest
// value.
import { LOSS_NAMES, LOSSES } from '#comparison';
import { loraLearningRate } from '../../pruning-run/method/sparsity-schedule.js';
import type { SegmentRows } from '../../views/projection/metrics-reader.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { METRIC_COLUMNS, ROW_DOUBLES, rowCount } from '../../views/projection/metrics-codec.js';

type RunFacts = Pick<PruningRunState, 'model' | 'settings'>;
type Segment = Pick<SegmentRows, 'rows' | 'endStep' | 'hardSparsity' | 'recordedAtMs'>;
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
  return { name, unit, of: () => (rows, at) => rows[at + offset]! };
};
const SECONDS = column('seconds');

export const QUANTITIES: readonly Quantity[] = [
  stored('loss', 'loss'),
  ...LOSS_NAMES.map((name) => stored(LOSSES[name].field, name)),
  stored('lagrangian', 'lagrangian'),
  stored('scheduled_sparsity', 'scheduledSparsity', 'share'),
  stored('expected_sparsity', 'expectedSparsity', 'share'),
  // Only recorded states have deterministic masks, so only the last step of a segment has a value.
  {
    name: 'hard_sparsity',
    unit: 'share',
    of:
      (_, { endStep, hardSparsity }) =>
      (rows, at) =>
        rows[at] === endStep - 1 ? hardSparsity : NaN,
  },
  stored('gradient_norm', 'gradientNorm'),
  {
    name: 'lora_learning_rate',
    unit: '1',
    of:
      ({ settings }) =>
      (rows, at) =>
        loraLearningRate(settings, rows[at]!),
  },
  { name: 'tokens_per_second', unit: 'tokens/s', of: tokensPerSecond },
  stored('lambda1', 'lambda1'),
  stored('lambda2', 'lambda2'),
  stored('open_heads', 'openHeads', 'heads'),
  stored('open_units', 'openUnits', 'units'),
  stored('open_hidden', 'openHidden', 'units'),
];

function tokensPerSecond({ settings }: RunFacts): ValueOf {
  const tokens = settings.batchSize * settings.sequenceLength;
  return (rows, at) => (rows[at + SECONDS]! > 0 ? tokens / rows[at + SECONDS]! : NaN);
}

/**
 * The numbers of a point: steps, last step, seconds, and the time when the last step was recorded. Then for each quantity the lowest value,
 * the sum, the number, and the highest value.
 */
const HEAD = 4;
const EACH = 4;
const WIDTH = HEAD + EACH * QUANTITIES.length;

export class CurvePoints {
  private data = new Float64Array(0);
  /** The first step of the first point, divided by stepsPerPoint. */
  private first = -1;
  length = 0;

  constructor(readonly stepsPerPoint: number) {}

  /** Adds the wanted steps of a segment. Steps must come in order, but the steps of one point may come in several calls. */
  add(run: RunFacts, segment: Segment, isWanted: (step: number) => boolean): void {
    const { rows, recordedAtMs } = segment;
    const values = QUANTITIES.map(({ of }) => of(run, segment));
    for (let row = 0; row < rowCount(rows); row += 1) {
      const from = row * ROW_DOUBLES;
      const step = rows[from]!;
      if (!isWanted(step)) continue;
      const at = this.pointOf(step);
      const { data } = this;
      data[at]! += 1;
      data[at + 1] = Math.max(data[at + 1]!, step);
      data[at + 2]! += rows[from + SECONDS]!;
      data[at + 3] = Math.max(data[at + 3]!, recordedAtMs / 1000);
      for (let index = 0; index < values.length; index += 1) {
        const value = values[index]!(rows, from);
        if (Number.isNaN(value)) continue;
        const place = at + HEAD + EACH * index;
        data[place] = Math.min(data[place]!, value);
        data[place + 1]! += value;
        data[place + 2]! += 1;
        data[place + 3] = Math.max(data[place + 3]!, value);
      }
    }
  }

  /** The points from one step to another in wider points. `stepsPerPoint` must be a multiple of this object's. */
  widened(stepsPerPoint: number, fromStep: number, toStep: number): CurvePoints {
    const wide = new CurvePoints(stepsPerPoint);
    for (let point = 0; point < this.length; point += 1) {
      const from = point * WIDTH;
      const step = (this.first + point) * this.stepsPerPoint;
      if (this.data[from] === 0 || this.data[from + 1]! < fromStep || step > toStep) continue;
      const at = wide.pointOf(step);
      const { data } = wide;
      data[at]! += this.data[from]!;
      data[at + 1] = Math.max(data[at + 1]!, this.data[from + 1]!);
      data[at + 2]! += this.data[from + 2]!;
      data[at + 3] = Math.max(data[at + 3]!, this.data[from + 3]!);
      for (let offset = HEAD; offset < WIDTH; offset += EACH) {
        data[at + offset] = Math.min(data[at + offset]!, this.data[from + offset]!);
        data[at + offset + 1]! += this.data[from + offset + 1]!;
        data[at + offset + 2]! += this.data[from + offset + 2]!;
        data[at + offset + 3] = Math.max(data[at + offset + 3]!, this.data[from + offset + 3]!);
      }
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
    const places = Array.from({ length: this.length }, (_, point) => point * WIDTH).filter((at) => this.data[at]! > 0);
    const all = (offset: number): number[] => places.map((at) => this.data[at + offset]!);
    const seconds = all(2);
    return {
      steps: all(1),
      seconds,
      endedAt: endTimes(all(3), seconds),
      totalSteps: all(0).reduce((sum, one) => sum + one, 0),
      values: (quantity) => {
        const offset = HEAD + EACH * quantity;
        const known = (at: number, value: number): number => (this.data[at + offset + 2]! > 0 ? value : NaN);
        return {
          lowest: places.map((at) => known(at, this.data[at + offset]!)),
          mean: places.map((at) => known(at, this.data[at + offset + 1]! / this.data[at + offset + 2]!)),
          highest: places.map((at) => known(at, this.data[at + offset + 3]!)),
        };
      },
    };
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
    for (let offset = HEAD; offset < WIDTH; offset += EACH) {
      this.data[at + offset] = Infinity;
      this.data[at + offset + 3] = -Infinity;
    }
    this.length += 1;
  }
}

/** The times when points ended. Several segments may be recorded at one time, so a point ends no later than the next one begins. */
function endTimes(recordedAt: readonly number[], seconds: readonly number[]): number[] {
  const times = [...recordedAt];
  for (let at = times.length - 2; at >= 0; at -= 1) times[at] = Math.min(times[at]!, times[at + 1]! - seconds[at + 1]!);
  return times;
}
