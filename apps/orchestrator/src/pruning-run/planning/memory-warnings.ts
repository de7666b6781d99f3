// Warnings about settings that are allowed but have no use by the plan of memory.
import type { engineV1 } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

export function memoryWarnings(
  { streamWeights }: Pick<RunSettings, 'streamWeights'>,
  { hostBytes }: Pick<engineV1.PlanMemoryResponse, 'hostBytes'>,
): SettingsWarning[] {
  if (!streamWeights || hostBytes > 0n) return [];
  const message = 'stream_weights changes nothing here: the engine computes on the processor, which reads the weights where they are';
  return [{ code: 'NOTHING_TO_STREAM', field: 'settings.stream_weights', message }];
}
