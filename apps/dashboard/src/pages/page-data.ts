// Loads what the charts and tables of a page show: each run as it is now, or as its record was at the revision that the page names.
import { historyService, runService } from '../api/client.js';
import { useChanges } from '../api/live.js';
import { useLoaded, type Loaded } from '../api/loaded-data.js';
import { quantityOf } from '../run/curves/x-axis.js';
import { pointsOf } from '../runs/compare/compared-figures.js';
import type { RunCurves } from '../runs/compare/overlaid.js';
import { runsOf, type DrawnRun } from '../runs/plots/figure-columns.js';
import type { Draft, DraftPanel, DraftRun } from './page-draft.js';

const REFRESH_MS = 3_000;
/** The place of a point on the axis of tokens follows from these. */
const OF_TOKENS = ['batch_size', 'sequence_length'];

const NO_CURVES = { steps: [], seconds: [], endedAt: [], curves: [] };

export interface ShownRun {
  asked: DraftRun;
  run: DrawnRun;
  curves: RunCurves;
  /** The digest chain of the record at the revision that is shown. */
  chain: string;
  /** The number of events that were recorded after this revision. */
  later: number;
}

export function usePageData({ runs, panels }: Pick<Draft, 'runs' | 'panels'>): Loaded<ShownRun[]> {
  const figures = [...new Set([...OF_TOKENS, ...panels.flatMap(figuresOf)])];
  const quantities = [
    ...new Set(
      panels.flatMap((panel) =>
        panel.kind === 'chart' ? [panel.quantity, ...(quantityOf(panel.axis) === undefined ? [] : [panel.axis])] : [],
      ),
    ),
  ];
  const named = runs.map(({ runId, held }) => `${runId}@${held?.revision ?? ''}`).join();
  const key = `page ${named}`;
  const loaded = useLoaded(key, (signal) => load(runs, figures, quantities, signal), `${figures.join()} ${quantities.join()}`);
  const following = runs.flatMap(({ runId, held }) => (held === undefined ? [runId] : []));
  useChanges(({ runId }) => runId === '' || following.includes(runId), loaded.reload, REFRESH_MS, key);
  return loaded;
}

function figuresOf(panel: DraftPanel): string[] {
  if (panel.kind === 'table') return panel.figures;
  return panel.kind === 'scatter' ? [panel.across, panel.up, 'recipe'] : [];
}

async function load(runs: readonly DraftRun[], figures: string[], quantities: string[], signal: AbortSignal): Promise<ShownRun[]> {
  if (runs.length === 0) return [];
  const asHeld = runs.map(({ runId, held }) => (held === undefined ? { runId } : { runId, revision: held.revision }));
  const asNow = runs.map(({ runId }) => ({ runId }));
  const maxPoints = pointsOf(runs.length);
  const [answer, now, curves] = await Promise.all([
    runService.listFigures({ figures, at: asHeld }, { signal }),
    runService.listFigures({ at: asNow }, { signal }),
    Promise.all(
      runs.map(async ({ runId, held }) => {
        if (quantities.length === 0) return NO_CURVES;
        const at = held === undefined ? {} : { atRevision: held.revision };
        return historyService.queryCurves({ runId, maxPoints, quantities, ...at }, { signal });
      }),
    ),
  ]);
  return runsOf(answer).map((run, index) => ({
    asked: runs[index]!,
    run,
    chain: answer.digestChains[index] ?? '',
    later: Number((now.revisions[index] ?? 0n) - (answer.revisions[index] ?? 0n)),
    curves: {
      runId: run.runId,
      tokensPerStep: (run.numbers['batch_size'] ?? 0) * (run.numbers['sequence_length'] ?? 0),
      phases: [],
      curves: curves[index]!,
    },
  }));
}
