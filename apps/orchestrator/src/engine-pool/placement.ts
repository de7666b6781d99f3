// Decides which work goes to which slot (docs/design/engines.md). It is a pure function of views of the slots and the work. It changes
// nothing itself, and is called again whenever something has changed.
import { EspalierError, type engineV1 } from '#protocol';

export interface SlotView {
  name: string;
  /** 'down' means that no engine answers there, or that the engine belongs to another orchestrator. The slot then gets no work. */
  state: 'free' | 'taken' | 'down';
  /** Whether the slot's engine answers. If not, the engine has to be started first. */
  isUp: boolean;
  /** The reason why the slot is down, in words. */
  problem: string;
  /** The run that the slot trains, or else the run whose model it holds. */
  runId: string | null;
  /** The number of failed tries in a row. */
  failures: number;
  /** The device that the slot's engine computes on, such as "cuda:0", or '' where it never answered. */
  device: string;
  /** Slots with the same value take their memory from the same place. */
  memoryPool: string;
  /** The memory that is promised to work and not taken yet. */
  promisedBytes: number;
  /** Whether the engine can read files that only this machine has. */
  sharesFiles: boolean;
}

/** An engine's answer to the question whether it can train a run. */
export type Fit = { fingerprint: string; neededBytes: number; availableBytes: number } | { problem: string };

export interface WaitingRun {
  runId: string;
  /** The numerics that the run must go on with, or null where any will do. */
  fingerprint: string | null;
  /** Whether the run waits where no engine has its numerics, since one that has may come. Otherwise an engine refuses it and says why. */
  waitsForNumerics: boolean;
  /** The name of the slot that trained the run last. */
  lastSlot: string | null;
  /** The engines' answers by slot; empty where no engine was asked. */
  fits: ReadonlyMap<string, Fit>;
  /** The slots that the run must not have, even if no other can take it. */
  barred: ReadonlySet<string>;
}

export interface WaitingJob {
  id: number;
  runId: string;
  needsOurFiles: boolean;
  /** The device that the job is to be done on; undefined: any. */
  device?: string;
  /** The slot where the job waits already. The job moves only to a slot that is free. */
  slot: string | null;
}

export interface Placement {
  runs: { runId: string; slot: string; neededBytes: number }[];
  /** `atOnce` is true where the slot is free. Otherwise the slot does the job between two pieces of its work. */
  jobs: { id: number; slot: string; atOnce: boolean }[];
  /** The runs that get no slot, each with the reason for users. */
  waits: { runId: string; why: string }[];
}

/** The place that a new run would get. */
export interface PlaceForRun {
  /** The name of the engine, or '' where it is not there yet. */
  engine: string;
  memory: engineV1.PlanMemoryResponse;
}

export const NO_ENGINE = 'the server has no engine: `espalier engine --join` starts one';
/** Why a run waits though engines are free. */
export const NO_NUMERICS =
  'no engine here has the numerics that the run was trained on: it goes on when one joins. To go on with others: espalier pause, then ' +
  'espalier resume --accept-other-numerics';
/** The refusal of a request that only an engine can answer. */
export const noEngineForRequest = (): EspalierError =>
  new EspalierError('ENGINE_UNAVAILABLE', `${NO_ENGINE}. Nothing was recorded: ask again when it has one`);

/** @param runs in the order of their turn @param jobs in the order of their arrival */
export function place(slots: readonly SlotView[], runs: readonly WaitingRun[], jobs: readonly WaitingJob[]): Placement {
  const placement: Placement = { runs: [], jobs: [], waits: [] };
  const free = new Map(slots.filter(({ state }) => state === 'free').map((slot) => [slot.name, slot]));
  placeJobs(slots, free, jobs, placement);
  const promised = new Map<string, number>();
  for (const { memoryPool, promisedBytes } of slots) promised.set(memoryPool, (promised.get(memoryPool) ?? 0) + promisedBytes);
  for (const run of runs) {
    const choice = choose(run, slots, free, promised);
    if (typeof choice === 'string') {
      if (choice !== '') placement.waits.push({ runId: run.runId, why: choice });
      continue;
    }
    const neededBytes = fitOf(run, choice)?.neededBytes ?? 0;
    free.delete(choice.name);
    promised.set(choice.memoryPool, (promised.get(choice.memoryPool) ?? 0) + neededBytes);
    placement.runs.push({ runId: run.runId, slot: choice.name, neededBytes });
  }
  return placement;
}

function placeJobs(
  slots: readonly SlotView[],
  free: Map<string, SlotView>,
  jobs: readonly WaitingJob[],
  { jobs: placed }: Placement,
): void {
  const queued = new Map<string, number>();
  const queue = (slot: string): void => void queued.set(slot, (queued.get(slot) ?? 0) + 1);
  for (const { slot } of jobs) if (slot !== null) queue(slot);
  for (const job of jobs) {
    const able = slots.filter(
      ({ state, sharesFiles, device }) =>
        state !== 'down' && (sharesFiles || !job.needsOurFiles) && (job.device === undefined || job.device === device),
    );
    const ofItsRun = (slot: SlotView): number => (slot.runId === job.runId ? 0 : 1);
    const idle = first(
      able.filter(({ name }) => free.has(name)),
      ({ failures }) => failures,
      ofItsRun,
      isUpRank,
    );
    if (idle !== undefined) {
      free.delete(idle.name);
      placed.push({ id: job.id, slot: idle.name, atOnce: true });
      continue;
    }
    if (able.some(({ name }) => name === job.slot)) continue;
    const busy = first(able, ofItsRun, ({ name }) => queued.get(name) ?? 0);
    if (busy === undefined) continue;
    queue(busy.name);
    placed.push({ id: job.id, slot: busy.name, atOnce: false });
  }
}

/** Returns a slot for the run, or the reason why it gets none. '' means that the run only waits for its turn. */
function choose(
  run: WaitingRun,
  slots: readonly SlotView[],
  free: ReadonlyMap<string, SlotView>,
  promised: ReadonlyMap<string, number>,
): SlotView | string {
  const open = run.barred.size === 0 ? slots : slots.filter(({ name }) => !run.barred.has(name));
  if (open.length === 0) return NO_ENGINE;
  const unable = (slot: SlotView): boolean => 'problem' in (run.fits.get(slot.name) ?? {});
  const able = open.every((slot) => !unable(slot)) || open.every(unable) ? open : open.filter((slot) => !unable(slot));
  const suited = withItsNumerics(run, able, free);
  if (suited.length === 0) return NO_NUMERICS;
  const candidates = free.size === 0 ? [] : suited.filter(({ name }) => free.has(name));
  if (candidates.length === 0) {
    if (suited.some(({ state }) => state !== 'down')) return '';
    return suited.map(({ name, problem }) => `engine ${name} ${problem}`).join('; ');
  }
  const roomy = candidates.filter((slot) => hasRoom(run, slot, slots, free, promised));
  if (roomy.length === 0) return 'it needs more memory than is free beside the work of the other engines: it begins when there is room';
  return first(
    roomy,
    ({ failures }) => failures,
    ({ name }) => (name === run.lastSlot ? 0 : 1),
    ({ device }) => (['', 'cpu'].includes(device) ? 1 : 0),
    isUpRank,
    (slot) => -(fitOf(run, slot)?.availableBytes ?? 0),
  )!;
}

/**
 * Returns the slots where the run goes on bit for bit. Where other numerics are accepted, returns all slots. Where no engine has the right
 * ones, returns none if the run waits for one that has, and else all slots.
 */
function withItsNumerics(run: WaitingRun, slots: readonly SlotView[], free: ReadonlyMap<string, SlotView>): readonly SlotView[] {
  const { fingerprint } = run;
  if (fingerprint === null) return slots;
  const same = slots.filter((slot) => fitOf(run, slot)?.fingerprint === fingerprint);
  if (same.length > 0) return same;
  // A slot that was not asked yet may have the right numerics, too. Of the slots that are down, only the run's last slot counts.
  const unknown = slots.filter(({ name, state }) => !run.fits.has(name) && (state !== 'down' || name === run.lastSlot));
  // One that works, or gets another run now, is asked once it is free. One that is free and gave no answer is asked again.
  if (run.waitsForNumerics) return unknown.filter(({ name }) => !free.has(name));
  return unknown.length > 0 ? unknown : slots;
}

/**
 * Tells whether the run's memory fits beside other work. Where no other work will free memory, a run that does not fit is placed all the
 * same, and its engine reports what is missing.
 */
function hasRoom(
  run: WaitingRun,
  { name, memoryPool }: SlotView,
  slots: readonly SlotView[],
  free: ReadonlyMap<string, SlotView>,
  promised: ReadonlyMap<string, number>,
): boolean {
  const fit = run.fits.get(name);
  if (fit === undefined || 'problem' in fit) return true;
  if (fit.neededBytes + (promised.get(memoryPool) ?? 0) <= fit.availableBytes) return true;
  return !slots.some((other) => other.memoryPool === memoryPool && other.name !== name && other.state !== 'down' && !free.has(other.name));
}

function fitOf(run: WaitingRun, { name }: SlotView): Exclude<Fit, { problem: string }> | undefined {
  const fit = run.fits.get(name);
  return fit === undefined || 'problem' in fit ? undefined : fit;
}

const isUpRank = ({ isUp }: SlotView): number => (isUp ? 0 : 1);

/** Returns the first item by these ranks. An earlier rank counts more, and equal items keep the given order. */
function first<T>(items: readonly T[], ...ranks: ((item: T) => number)[]): T | undefined {
  let best: T | undefined;
  for (const item of items) {
    if (best === undefined) best = item;
    else {
      for (const rank of ranks) {
        const difference = rank(item) - rank(best);
        if (difference === 0) continue;
        if (difference < 0) best = item;
        break;
      }
    }
  }
  return best;
}
