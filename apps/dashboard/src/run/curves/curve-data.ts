// Loads the curves of runs, which the server reduces to about one point for each pixel of a chart.
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import type { Curve as CurveMessage, QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import { LOSSES } from '../../../../../libs/comparison/src/index.js';
import { historyService } from '../../api/client.js';
import type { Picture } from '../../ui/charts/picture.js';
import { smoothed, type Curve, type Smoothing } from '../../ui/charts/curve.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import type { PaleLine } from './pale-lines.js';
import { isOfStates, QUANTITIES } from './quantities.js';

const POINTS = 800;

export interface Range {
  from: number;
  to: number;
}

/** @param some the curves to load and their number of points, where many runs are drawn in one chart */
export function loadCurves(
  runId: string,
  range: Range | null,
  signal: AbortSignal,
  some: { maxPoints?: number; quantities?: string[] } = {},
): Promise<QueryCurvesResponse> {
  return historyService.queryCurves({ runId, maxPoints: POINTS, ...some, ...stepsOf(range) }, { signal });
}

/** Loads the steps behind the recorded points, which the engine has reported and the record does not hold yet. */
export function loadTail(
  runId: string,
  recorded: QueryCurvesResponse,
  range: Range | null,
  signal: AbortSignal,
): Promise<QueryCurvesResponse> {
  const last = recorded.steps.at(-1);
  const from = last === undefined ? {} : { fromStep: last + 1n };
  return historyService.queryCurves({ runId, maxPoints: POINTS, ...stepsOf(range), ...from, live: true }, { signal });
}

const stepsOf = (range: Range | null) => (range === null ? {} : { fromStep: BigInt(range.from), toStep: BigInt(range.to) });

const known = (values: number[]): (number | null)[] => values.map((value) => (Number.isFinite(value) ? value : null));

/** The part of an answer that a line is made of. */
export type CurvesOfRun = Pick<QueryCurvesResponse, 'steps' | 'seconds' | 'endedAt' | 'curves'>;

export function curveOf(
  response: Pick<CurvesOfRun, 'steps' | 'curves'>,
  quantity: string,
  options: { label: string; index: number; isPlanned: boolean; smoothing: Smoothing | null },
): Curve | null {
  const message: CurveMessage | undefined = response.curves.find((one) => one.quantity === quantity);
  if (message === undefined || !message.mean.some(Number.isFinite)) return null;
  const { label, index, isPlanned, smoothing } = options;
  const { tone, dash } = lookOf(index);
  const values = known(message.mean);
  return {
    label,
    tone,
    dash: isPlanned ? PLANNED : dash,
    spans: isOfStates(quantity),
    values,
    ...(smoothing === null ? {} : { smooth: smoothed(values, response.steps.map(Number), smoothing) }),
    ...(message.lowest.length > 0 ? { lowest: known(message.lowest), highest: known(message.highest) } : {}),
  };
}

/** The quantities that pale lines show: the first one of each picture. */
const PALE_QUANTITIES = (): string[] => PICTURES.map(({ quantities }) => quantities[0][0]);
/** The most abandoned branches that are shown, the last ones first. */
const MOST_ABANDONED = 6;

export async function loadParent({ parentRunId, forkedAtStep }: Run, signal: AbortSignal): Promise<PaleLine> {
  const toStep = forkedAtStep - 1n;
  const asked = { runId: parentRunId, fromStep: 0n, toStep, maxPoints: POINTS, quantities: PALE_QUANTITIES() };
  return paleLine('parent', await historyService.queryCurves(asked, { signal }));
}

export async function loadAbandonedLines({ runId, rewinds }: Run, range: Range | null, signal: AbortSignal): Promise<PaleLine[]> {
  const numbers = Array.from({ length: rewinds }, (_, rewind) => rewind).slice(-MOST_ABANDONED);
  return Promise.all(
    numbers.map(async (abandonedByRewind) => {
      const asked = { runId, abandonedByRewind, maxPoints: POINTS, quantities: PALE_QUANTITIES(), ...stepsOf(range) };
      const line = paleLine('abandoned', await historyService.queryCurves(asked, { signal }));
      return numbers.length === 1 ? line : { ...line, name: `abandoned by rewind ${abandonedByRewind + 1}` };
    }),
  );
}

function paleLine(name: string, { steps, curves }: QueryCurvesResponse): PaleLine {
  return { name, steps: steps.map(Number), values: new Map(curves.map(({ quantity, mean }) => [quantity, known(mean)])) };
}

const PLANNED = [5, 4];

type PictureQuantity = [quantity: string, label: string, isPlanned?: boolean];
interface PictureOfCurves extends Picture {
  quantities: [PictureQuantity, ...PictureQuantity[]];
}

const LOSSES_APART = Object.values(LOSSES).filter(({ hasOwnChart }) => hasOwnChart);
const LOSSES_OF_CHART = Object.values(LOSSES).filter(({ hasOwnChart }) => !hasOwnChart);
/** The chart of one quantity. */
const alone = (quantity: string, label: string): PictureOfCurves => ({ ...QUANTITIES[quantity]!, quantities: [[quantity, label]] });

export const PICTURES: PictureOfCurves[] = [
  {
    ...QUANTITIES['loss']!,
    quantities: [['loss', 'total'], ...LOSSES_OF_CHART.map(({ field, label }): [string, string] => [field, label])],
  },
  ...LOSSES_APART.map(({ field, label }) => alone(field, label)),
  {
    title: 'Sparsity',
    yName: 'closed share',
    quantities: [
      ['expected_sparsity', 'expected'],
      ['hard_sparsity', 'hard'],
      ['scheduled_sparsity', 'scheduled', true],
    ],
    isShare: true,
  },
  alone('lora_learning_rate', 'rate'),
  alone('tokens_per_second', 'tokens/s'),
  alone('gradient_norm', 'norm'),
  {
    ...QUANTITIES['lagrangian']!,
    quantities: [
      ['lagrangian', 'term'],
      ['lambda1', 'λ₁'],
      ['lambda2', 'λ₂'],
    ],
  },
];
