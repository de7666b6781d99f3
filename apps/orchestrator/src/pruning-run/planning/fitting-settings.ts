// Searches settings under which a run fits into memory, by plans that an engine makes. It first tries settings that change no result, then
// settings that only change rounding, then those that change the method: shorter sequences, and at last recovery by LoRA in place of all
// weights.
import type { RunSettings } from '../record/pruning-run.events.js';

type Fitted = Pick<RunSettings, 'batchSize' | 'sequenceLength' | 'microShards' | 'checkpointActivations' | 'streamWeights'>;

interface Plan {
  totalBytes: bigint;
  availableBytes: bigint;
  hostBytes: bigint;
  hostAvailableBytes: bigint;
}

export const fits = ({ totalBytes, availableBytes, hostBytes, hostAvailableBytes }: Plan): boolean =>
  totalBytes <= availableBytes && hostBytes <= hostAvailableBytes;

/** Sequence lengths are tried in steps of this number of tokens. */
const SEQUENCE_STEP = 64;

/**
 * @param hasCard whether the engine has a card that weights can be streamed to
 * @param plan returns the memory that settings would take. Smaller values and more shards must take less.
 */
export async function fittingSettings<P extends Plan>(
  settings: RunSettings,
  hasCard: boolean,
  plan: (settings: RunSettings) => Promise<P>,
): Promise<{ settings: RunSettings; plan: P } | null> {
  for (const recoverWeights of lesserWeights(settings)) {
    const found = await withSameWeights({ ...settings, recoverWeights }, hasCard, plan);
    if (found !== null) return found;
  }
  return null;
}

/** Returns the values of recover_weights from that of the settings down to the one that takes the least memory. */
function lesserWeights({ recoverWeights, recoverSteps }: RunSettings): RunSettings['recoverWeights'][] {
  const all = ['all', 'layers', 'lora'] as const;
  return recoverSteps === 0 ? [recoverWeights] : all.slice(all.indexOf(recoverWeights));
}

async function withSameWeights<P extends Plan>(
  settings: RunSettings,
  hasCard: boolean,
  plan: (settings: RunSettings) => Promise<P>,
): Promise<{ settings: RunSettings; plan: P } | null> {
  const tried = async (change: Partial<Fitted>): Promise<{ settings: RunSettings; plan: P } | null> => {
    const with_ = { ...settings, ...change };
    const planned = await plan(with_);
    return fits(planned) ? { settings: with_, plan: planned } : null;
  };
  // Streaming costs by far the most time, so it comes last.
  const ways = distinct(
    (hasCard ? [false, true] : [settings.streamWeights]).flatMap((stream) =>
      [false, true].map((checkpoint) => ({
        checkpointActivations: settings.checkpointActivations || checkpoint,
        streamWeights: settings.streamWeights || stream,
      })),
    ),
  );
  const { batchSize } = settings;
  const shards = divisorsOf(batchSize).filter((count) => count > settings.microShards);
  for (const streamWeights of new Set(ways.map((way) => way.streamWeights))) {
    const alike = ways.filter((way) => way.streamWeights === streamWeights);
    for (const way of alike) {
      const found = await tried(way);
      if (found !== null) return found;
    }
    for (const way of alike) {
      const found = await smallest(shards, (microShards) => tried({ ...way, microShards }));
      if (found !== null) return found;
    }
  }
  const least = ways.at(-1)!;
  // One sequence at a time takes the same memory for any batch, so only the length can be reduced.
  const longest = Math.floor((settings.sequenceLength - 1) / SEQUENCE_STEP);
  const lengths = Array.from({ length: longest }, (_, index) => (longest - index) * SEQUENCE_STEP);
  return smallest(lengths, (sequenceLength) => tried({ ...least, microShards: batchSize, sequenceLength }));
}

/** Finds the first candidate that fits by halving. Each candidate must take less memory than the one before it. */
async function smallest<C, F>(candidates: readonly C[], tried: (candidate: C) => Promise<F | null>): Promise<F | null> {
  let best: F | null = null;
  for (let [low, high] = [0, candidates.length]; low < high;) {
    const middle = Math.floor((low + high) / 2);
    const found = await tried(candidates[middle]!);
    if (found === null) low = middle + 1;
    else [best, high] = [found, middle];
  }
  return best;
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}

function divisorsOf(value: number): number[] {
  return Array.from({ length: value }, (_, index) => index + 1).filter((divisor) => value % divisor === 0);
}
