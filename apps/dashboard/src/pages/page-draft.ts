// A page of panels as a user edits it.
import type { Panels, SavedPage } from '../generated/espalier/v1/page_service_pb.js';
import { ownChartsOf } from '../run/curves/own-charts.js';

export interface DraftRun {
  runId: string;
  /** The revision and the digest chain at which the page shows the run; undefined: as the run is now. */
  held?: { revision: bigint; chain: string };
}

export type DraftPanel = { title: string } & (
  | { kind: 'text'; markdown: string }
  | { kind: 'chart'; quantity: string; axis: string; logarithmic: boolean }
  | { kind: 'table'; figures: string[] }
  | { kind: 'scatter'; across: string; up: string }
);

export interface Draft {
  name: string;
  runs: DraftRun[];
  panels: DraftPanel[];
}

/** The most runs of a page. */
export const MOST_OF_PAGE = 64;

export const NEW_PANELS: Readonly<Record<DraftPanel['kind'], DraftPanel>> = {
  text: { title: '', kind: 'text', markdown: '' },
  chart: { title: '', kind: 'chart', quantity: 'loss', axis: 'step', logarithmic: false },
  table: { title: '', kind: 'table', figures: ['recipe', 'parameters_left', 'perplexity', 'tokens_per_second'] },
  scatter: { title: '', kind: 'scatter', across: 'parameters_left', up: 'perplexity' },
};

export function draftOf({ name, content }: Pick<SavedPage, 'name' | 'content'>): Draft {
  const { runs, panels } = content?.panels ?? { runs: [], panels: [] };
  return {
    name,
    runs: runs.map(({ runId, revision, digestChain }) =>
      revision === undefined ? { runId } : { runId, held: { revision, chain: digestChain } },
    ),
    panels: panels.flatMap(panelOf),
  };
}

function panelOf({ title, text, chart, table, scatter }: Panels['panels'][number]): DraftPanel[] {
  if (text !== undefined) return [{ title, kind: 'text', markdown: text.markdown }];
  if (chart !== undefined) return [{ title, kind: 'chart', quantity: chart.quantity, axis: chart.axis, logarithmic: chart.logarithmic }];
  if (scatter !== undefined) return [{ title, kind: 'scatter', across: scatter.across, up: scatter.up }];
  return table === undefined ? [] : [{ title, kind: 'table', figures: table.figures }];
}

/** The content of a request that saves the draft. */
export function contentOf({ runs, panels }: Draft) {
  return {
    panels: {
      runs: runs.map(({ runId, held }) => (held === undefined ? { runId } : { runId, revision: held.revision, digestChain: held.chain })),
      panels: panels.map(({ title, kind, ...panel }) => ({ title, [kind]: panel })),
    },
  };
}

/** Puts a panel one place up (-1) or down (1). */
export function moved(panels: readonly DraftPanel[], index: number, by: -1 | 1): DraftPanel[] {
  const next = [...panels];
  const [panel] = next.splice(index, 1);
  if (panel !== undefined) next.splice(Math.max(0, index + by), 0, panel);
  return next;
}

/** Tells whether every run of the page is held, so that the page shows the same from now on. */
export const isReport = ({ runs }: Pick<Draft, 'runs'>): boolean => runs.length > 0 && runs.every(({ held }) => held !== undefined);

export const newPageAddress = (runIds: readonly string[], own: string): string =>
  `/pages/new?${new URLSearchParams({ runs: runIds.join(','), ...(own === '' ? {} : { own }) }).toString()}`;

/** The draft that an address of a new page begins with. */
export function draftOfAddress(query: URLSearchParams): Draft {
  const runIds = (query.get('runs') ?? '').split(',').filter(Boolean);
  const own = ownChartsOf(query.get('own')).map(({ quantity, axis }): DraftPanel => ({
    ...NEW_PANELS.chart,
    kind: 'chart',
    quantity,
    axis,
    title: '',
    logarithmic: false,
  }));
  const panels: DraftPanel[] = own.length > 0 ? own : [NEW_PANELS.chart];
  return { name: '', runs: runIds.map((runId) => ({ runId })), panels: [...panels, NEW_PANELS.table] };
}
