// Measures the rates of a run with a time on the attempt's engine, by which the run chooses its steps (docs/design/time.md).
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { watchProgress } from '../engines/step-watchdog.js';
import { measureRates } from '../measurements/step-rates.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { ChooseSteps } from '../pruning-run/aggregate/engine-decisions.js';
import type { AttemptParts } from './attempt-parts.js';
import { withTokens } from './damaged-artifacts.js';

/** @param patience ends the measuring */
export async function chooseSteps(
  parts: AttemptParts,
  bench: EngineWorkbench,
  run: PruningRunState,
  { number: attempt, beganMs }: { number: number; beganMs: number },
  patience: AbortSignal,
): Promise<ChooseSteps> {
  parts.slot.doing = `measuring the steps of run ${run.runId}`;
  const signal = AbortSignal.any([bench.engine.lost, patience, parts.shutdown]);
  const watchdog = watchProgress(bench.engine);
  try {
    await bench.bringModel(run, signal);
    await withTokens(parts, run, 'train', () => bench.bringTokens(run));
    const measure = () => measureRates(bench, parts.artifacts, run, () => watchdog.alive(), signal);
    const { typical: rates } = await withTokens(parts, run, 'validation', measure);
    return { kind: 'chooseSteps', attempt, rates, spentSeconds: run.preparationSeconds + (performance.now() - beganMs) / 1_000 };
  } finally {
    watchdog.rest();
  }
}
