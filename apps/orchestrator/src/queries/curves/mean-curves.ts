// Answers QueryMeanCurves: the mean and the spread of a quantity over the runs of each group. Each run counts with its means over the steps
// of a point, which are kept, so that only runs that went on are read again.
import { setImmediate as breathe } from 'node:timers/promises';
import { invalidField, type v1 } from '#protocol';
import { numberAt, ROW_DOUBLES } from '../../views/projection/metrics-codec.js';
import { readSegments } from '../../views/projection/metrics-reader.js';
import { isActiveStep, type Rewind } from '../../views/projection/run-detail.js';
import { compareAll, figuresOfGroups, valueTexts } from '../../views/run-groups.js';
import type { FigureValue } from '../../views/run-figures.js';
import type { RunViews } from '../../views/run-views.js';
import { QUANTITIES, type RunFacts } from './curve-points.js';
import { quantityIndex, widthOf } from './query-curves.js';

const DEFAULT_POINTS = 200;
const MOST_POINTS = 1_000;
/** The looks of lines that a reader can tell apart. */
const MOST_GROUPS = 36;
/** The numbers that are kept for later questions: 64 MB. 2,000 runs with 200 points each are 800,000. */
const NUMBERS_KEPT = 8_000_000;
/** The processor's time after which the process does its other work. */
const BREATH_MS = 20;

/** The part of a run that its curve needs. The whole summaries of thousands of runs would take too much memory. */
interface Member extends RunFacts {
  runId: string;
  revision: number;
  steps: number;
  rewinds: readonly Rewind[];
  values: FigureValue[];
}
/** A run's part in the points: the number of a point, and the run's mean there, in turn. */
type Means = Float64Array;
type Answers = Map<string, { revision: number; means: Means }>;

export class MeanCurves {
  private readonly kept = new Map<string, Answers>();

  async query(views: RunViews, request: v1.QueryMeanCurvesRequest, signal: AbortSignal): Promise<v1.QueryMeanCurvesResponse> {
    const { quantity, by, maxPoints: asked, fromStep, toStep, ...filter } = request;
    const index = quantityIndex(quantity, 'quantity');
    const maxPoints = asked === 0 ? DEFAULT_POINTS : asked;
    if (maxPoints > MOST_POINTS) throw invalidField('FIELD_OUT_OF_RANGE', 'max_points', `1 to ${MOST_POINTS} is allowed`);
    if (toStep !== undefined && toStep < (fromStep ?? 0n))
      throw invalidField('FIELD_OUT_OF_RANGE', 'to_step', 'must not lie before from_step');
    const members = membersOf(await views.matching(filter), by);
    const from = Number(fromStep ?? 0n);
    const to = Number(toStep ?? Number.MAX_SAFE_INTEGER);
    const last = members.reduce((most, { steps }) => Math.max(most, steps - 1), from);
    const width = widthOf(from, Math.min(to, last), maxPoints);
    const answers = this.answersTo(`${quantity} ${width} ${from} ${to}`);
    const groups = new Map<string, { values: FigureValue[]; runs: Means[] }>();
    let breathed = performance.now();
    for (const member of members) {
      const known = answers.get(member.runId);
      const means = known?.revision === member.revision ? known.means : meansOf(views, member, { index, width, from, to });
      answers.set(member.runId, { revision: member.revision, means });
      if (means.length > 0) {
        const key = JSON.stringify(member.values);
        const group = groups.get(key) ?? { values: member.values, runs: [] };
        groups.set(key, group);
        group.runs.push(means);
        if (groups.size > MOST_GROUPS)
          throw invalidField('FIELD_OUT_OF_RANGE', 'by', `makes more than ${MOST_GROUPS} groups: name what several runs have in common`);
      }
      if (performance.now() - breathed < BREATH_MS) continue;
      await breathe();
      signal.throwIfAborted();
      breathed = performance.now();
    }
    const all = [...groups.values()].sort((left, right) => compareAll(left.values, right.values));
    return {
      stepsPerPoint: BigInt(width),
      groups: all.map(({ values, runs }) => ({ values: valueTexts(values), ...meanCurve(runs, width) })),
      runs: all.reduce((sum, { runs }) => sum + runs.length, 0),
    };
  }

  private answersTo(question: string): Answers {
    const answers: Answers = this.kept.get(question) ?? new Map();
    this.kept.delete(question);
    this.kept.set(question, answers);
    this.forgetOldest();
    return answers;
  }

  private forgetOldest(): void {
    let numbers = 0;
    for (const [question, answers] of [...this.kept].reverse()) {
      for (const { means } of answers.values()) numbers += means.length;
      if (numbers > NUMBERS_KEPT) this.kept.delete(question);
    }
  }
}

function membersOf(runs: Awaited<ReturnType<RunViews['matching']>>, by: readonly string[]): Member[] {
  const figures = figuresOfGroups(by);
  const members: Member[] = [];
  for (const summary of runs) {
    const { runId, revision, settings, current } = summary.run;
    const { rewinds } = summary.extras;
    members.push({ runId, revision, settings, steps: current?.step ?? 0, rewinds, values: figures.map((figure) => figure.of(summary)) });
  }
  return members;
}

interface Points {
  index: number;
  width: number;
  from: number;
  to: number;
}

function meansOf({ database }: RunViews, run: Member, { index, width, from, to }: Points): Means {
  const sums = new Map<number, { sum: number; n: number }>();
  for (const segment of readSegments(database, run.runId, { fromStep: from, toStep: to })) {
    const { rows, branch } = segment;
    const valueOf = QUANTITIES[index]!.of(run, segment);
    for (let at = 0; at < rows.length; at += ROW_DOUBLES) {
      const step = numberAt(rows, at);
      const value = valueOf(rows, at);
      if (step < from || step > to || !Number.isFinite(value) || !isActiveStep(run.rewinds, branch, step)) continue;
      const point = Math.floor(step / width);
      const { sum, n } = sums.get(point) ?? { sum: 0, n: 0 };
      sums.set(point, { sum: sum + value, n: n + 1 });
    }
  }
  return Float64Array.from([...sums].flatMap(([point, { sum, n }]) => [point, sum / n]));
}

/** The mean over the runs at each point, by Welford's method, which keeps its digits however large the values are. */
function meanCurve(runs: readonly Means[], width: number): Omit<v1.MeanCurve, 'values'> {
  const points = new Map<number, { mean: number; squares: number; n: number }>();
  for (const means of runs)
    for (let at = 0; at < means.length; at += 2) {
      const [point, value] = [numberAt(means, at), numberAt(means, at + 1)];
      const { mean, squares, n } = points.get(point) ?? { mean: 0, squares: 0, n: 0 };
      const next = mean + (value - mean) / (n + 1);
      points.set(point, { mean: next, squares: squares + (value - mean) * (value - next), n: n + 1 });
    }
  const sorted = [...points].sort(([one], [other]) => one - other);
  return {
    runs: runs.length,
    steps: sorted.map(([point]) => BigInt(point * width)),
    mean: sorted.map(([, { mean }]) => mean),
    spread: sorted.map(([, { squares, n }]) => (n > 1 ? Math.sqrt(squares / (n - 1)) : 0)),
    n: sorted.map(([, { n }]) => n),
  };
}
