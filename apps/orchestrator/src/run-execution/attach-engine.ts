// Gives an engine the model, the data and the last recorded state of a run.
import { stepOf, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { endStepOf } from '../pruning-run/method/phases.js';
import type { AttachEngine } from '../pruning-run/aggregate/engine-decisions.js';
import type { AttemptParts } from './attempt-parts.js';
import { damageOrThrow, withTokens } from './damaged-artifacts.js';
import { ENGINE_LEASE_MS } from '../engines/engine-supervisor.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { EspalierError } from '#protocol';

/**
 * @param fallBack records that the run goes on from before a damaged state of that step, and returns the run after it
 * @param signal ends the wait for files that are sent to the engine
 */
export async function attachEngine(
  parts: AttemptParts,
  bench: EngineWorkbench,
  run: PruningRunState,
  attempt: number,
  fallBack: (step: number, damage: EspalierError) => Promise<PruningRunState>,
  signal: AbortSignal,
): Promise<AttachEngine> {
  const { numericsFingerprint } = await bench.bringModel(run, signal);
  const { about } = bench.engine;
  if (stepOf(run) < endStepOf(run.settings)) await withTokens(parts, run, 'train', () => bench.bringTokens(run));
  let stateDigest: string;
  try {
    stateDigest = await bench.bringState(run, run.current);
  } catch (error) {
    const earlier = await fallBack(stepOf(run), damageOrThrow(error));
    await withTokens(parts, earlier, 'train', () => bench.bringTokens(earlier));
    stateDigest = await bench.bringState(earlier, earlier.current);
  }
  return {
    kind: 'attachEngine',
    attempt,
    stateDigest,
    engine: {
      engineVersion: about.engineVersion,
      engineBuild: about.build,
      backend: about.backend,
      device: about.device,
      threads: bench.threads,
      numericsFingerprint,
      leaseMs: ENGINE_LEASE_MS,
      engineName: parts.slot.name,
    },
  };
}
