// Brings an engine to where a run's record ends: model, data, state. A last state whose artifact is damaged is left for the
// nearest earlier one that is whole; training from there gives the same states again.
import { EspalierError, toEspalierError } from '#protocol';
import { stepOf, type PruningRunState } from '../pruning-run/pruning-run.js';
import type { AttachEngine, FallBack } from '../pruning-run/run-change.js';
import type { AttemptParts } from './attempt-parts.js';
import { ENGINE_LEASE_MS } from './engine-supervisor.js';
import type { EngineWorkbench } from './engine-workbench.js';

const DAMAGE = new Set(['ARTIFACT_MISSING', 'ARTIFACT_CORRUPT', 'STATE_CORRUPT']);

export async function attachEngine(
  parts: AttemptParts, bench: EngineWorkbench, run: PruningRunState, attempt: number, fallBack: (change: FallBack) => Promise<PruningRunState>,
): Promise<AttachEngine> {
  const { numericsFingerprint } = await bench.bringModel(run, parts.threads);
  const about = await bench.engine.client.describe();
  if (stepOf(run) < run.settings.totalSteps) await bench.bringTokens(run);
  let stateDigest: string;
  try {
    stateDigest = await bench.bringState(run, run.current);
  } catch (error) {
    const damage = toEspalierError(error);
    if (!DAMAGE.has(damage.code)) throw error;
    const whole = await nearestWholeState(parts, run);
    if (whole === null) {
      throw new EspalierError(damage.code, `the last state of run ${run.runId} is damaged and no earlier one is whole: ${damage.message}`);
    }
    parts.log.error({ runId: run.runId, code: damage.code, stateDigest: run.current?.stateDigest }, 'the last state is damaged; going on from an earlier one');
    const earlier = await fallBack({ kind: 'fallBack', attempt, stateDigest: whole });
    stateDigest = await bench.bringState(earlier, earlier.current);
  }
  return {
    kind: 'attachEngine', attempt, stateDigest,
    engine: {
      engineVersion: about.engineVersion, engineBuild: about.build, backend: about.backend, device: about.device, threads: about.threads,
      numericsFingerprint, leaseMs: ENGINE_LEASE_MS,
    },
  };
}

async function nearestWholeState({ artifacts }: AttemptParts, run: PruningRunState): Promise<string | null> {
  const earlier = [run.previous, ...run.teachers.map((one) => one.state).reverse()]
    .filter((state) => state !== null && state.stateDigest !== run.current?.stateDigest)
    .map((state) => state!.stateDigest);
  for (const digest of new Set(earlier)) if (await artifacts.verify(digest) === 'ok') return digest;
  return null;
}
