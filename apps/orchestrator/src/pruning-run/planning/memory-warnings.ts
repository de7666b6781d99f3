// Warnings about settings that are allowed but useless, as the plan of memory shows.
import type { engineV1 } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

type Settings = Pick<RunSettings, 'streamWeights' | 'microShards' | 'recoverWeights'>;
type Planned = Pick<engineV1.PlanMemoryResponse, 'hostBytes' | 'devices' | 'devicesThere'>;

export function memoryWarnings(settings: Settings, planned: Planned): SettingsWarning[] {
  return [...streamWarnings(settings, planned), ...deviceWarnings(settings, planned)];
}

function streamWarnings({ streamWeights }: Settings, { hostBytes }: Planned): SettingsWarning[] {
  if (!streamWeights || hostBytes > 0n) return [];
  const message = 'stream_weights changes nothing on this engine: it computes on the processor, which reads the weights where they are';
  return [{ code: 'NOTHING_TO_STREAM', field: 'settings.stream_weights', message }];
}

/** Warns where devices of the engine would be idle. */
function deviceWarnings({ microShards, recoverWeights }: Settings, { devices, devicesThere }: Planned): SettingsWarning[] {
  const idle = (name: string, message: string): SettingsWarning[] => [{ code: 'DEVICES_IDLE', field: `settings.${name}`, message }];
  if (devices < devicesThere) {
    const used = `of the engine's ${devicesThere} devices ${devices === 1 ? '1 computes' : `${devices} compute`}`;
    const usable = 2 ** Math.floor(Math.log2(devicesThere));
    const help = devices < usable ? `, and with a multiple of ${usable} it is ${usable}` : '';
    return idle('micro_shards', `${used}: as many as the largest power of two that divides micro_shards, which is ${microShards}${help}`);
  }
  if (devices < 2 || recoverWeights === 'lora') return [];
  return idle('recover_weights', `recovery with all weights computes on the first of the engine's ${devicesThere} devices`);
}
