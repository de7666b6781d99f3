// The plan of a run, and the refusal of a run that does not fit.
import { byteWords } from '#comparison';
import { EspalierError, settingsTable, type SettingName } from '#protocol';
import type { PlaceForRun } from '../engine-pool/placement.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import { fits } from '../pruning-run/planning/fitting-settings.js';
import type { Budget, ModelIdentity, RunSettings } from '../pruning-run/record/pruning-run.events.js';

/** The plan of a run. Its engine is the one that would train the run now, and its memory is that engine's answer. */
export interface RunPlan extends PlaceForRun {
  model: ModelIdentity;
  settings: RunSettings; // with all defaults
  /** Only with a time: the settings that follow from the steps, which are chosen at the run's start. */
  following?: SettingName[];
  budget: Budget | null;
  /** The bytes of the speed table for a target in seconds, or null for other targets. */
  speedTable: Uint8Array | null;
  shape: ModelShape;
  /**
   * Where the run needs too much memory: settings that need less, and the memory that they need. Null where the run fits or no settings
   * were found.
   */
  change: { settings: RunSettings; totalBytes: bigint } | null;
}

function whatWouldFit({ settings, change }: RunPlan): string {
  if (change === null) return 'neither shorter sequences nor recovery by LoRA would fit';
  const parts = settingsTable()
    .filter(({ name }) => change.settings[name] !== settings[name])
    .map(({ field, kind, name }) => (kind === 'flag' ? field : `${field} ${String(change.settings[name])}`));
  return `${change.totalBytes} would do, with ${parts.join(', ')}`;
}

/** @throws EspalierError OUT_OF_MEMORY */
export function requireMemory(plan: RunPlan): void {
  const { settings, memory } = plan;
  if (fits(memory)) return;
  const { totalBytes, availableBytes, activationsBytes, hostBytes, hostAvailableBytes } = memory;
  const { batchSize, sequenceLength } = settings;
  const description =
    totalBytes <= availableBytes
      ? `beside device memory the run needs ${byteWords(hostBytes)} on the engine's machine, which has ${byteWords(hostAvailableBytes)}`
      : `${batchSize} sequences of ${sequenceLength} tokens need ${byteWords(totalBytes)} (${byteWords(activationsBytes)} of them ` +
        `activations), ` +
        `the engine's ${hostBytes === 0n ? 'machine' : 'device'} has ${byteWords(availableBytes)}; ${whatWouldFit(plan)}`;
  throw new EspalierError('OUT_OF_MEMORY', description, {
    violations: [{ field: 'settings.batch_size', description, code: 'OUT_OF_MEMORY' }],
  });
}
