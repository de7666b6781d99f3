import type { engineV1 } from '#protocol';
import type { EngineSlot } from './engine-slot.js';

/** An engine that does not answer in this time is shown with its last answer. */
const LOOK_TIMEOUT_MS = 1_500;

/** The engine's present description of itself, or null where it can't be asked or does not answer in time. */
export function lookAt(slot: EngineSlot): Promise<engineV1.DescribeEngineResponse | null> {
  const { live } = slot.supervisor;
  return live === null ? slot.connector.look(LOOK_TIMEOUT_MS) : live.client.describe(LOOK_TIMEOUT_MS).catch(() => null);
}
