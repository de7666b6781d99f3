// A page in the words of the protocol, and back. What a request has is checked here, so that a stored page can always be shown.
import { invalidField, v1 } from '#protocol';
import { quantityIndex } from '../queries/curves/query-curves.js';
import { figureNamed } from '../views/run-figures.js';
import type { PageContent, PageRun, Panel } from './page.events.js';
import type { PageState } from './page.js';

const MOST_RUNS = 64;
const MOST_FIGURES = 24;
/** The axes of curves that are no quantities. */
const AXES = ['step', 'tokens', 'time', 'clock'];

export function pageMessage({ pageId, name, content, madeBy, madeAt, savedAt, revision }: PageState): v1.SavedPage {
  return {
    pageId,
    name,
    content: contentMessage(content),
    madeBy: madeBy?.actor ?? '',
    madeByName: madeBy?.actorName ?? '',
    madeAt: new Date(madeAt),
    savedAt: new Date(savedAt),
    revision: BigInt(revision),
  };
}

function contentMessage(content: PageContent): v1.PageContent {
  if (content.kind === 'list') return { listView: { query: content.query }, panels: undefined };
  return { listView: undefined, panels: { runs: content.runs.map(runMessage), panels: content.panels.map(panelMessage) } };
}

const runMessage = ({ runId, held }: PageRun): v1.PageRun => ({
  runId,
  revision: held === undefined ? undefined : BigInt(held.revision),
  digestChain: held?.chain ?? '',
});

function panelMessage(panel: Panel): v1.Panel {
  const empty = { title: panel.title, text: undefined, chart: undefined, table: undefined, scatter: undefined };
  switch (panel.kind) {
    case 'text':
      return { ...empty, text: { markdown: panel.markdown } };
    case 'chart':
      return { ...empty, chart: { quantity: panel.quantity, axis: panel.axis, logarithmic: panel.logarithmic } };
    case 'table':
      return { ...empty, table: { figures: panel.figures } };
    case 'scatter':
      return { ...empty, scatter: { across: panel.across, up: panel.up } };
  }
}

/**
 * @param held returns the run that a request names, with the chain of its record where the request names a revision
 * @throws EspalierError FIELD_REQUIRED, FIELD_OUT_OF_RANGE, FIELD_UNKNOWN_VALUE, and the errors of `held`
 */
export async function contentOf(
  message: v1.PageContent | undefined,
  held: (run: v1.PageRun, field: string) => Promise<PageRun>,
): Promise<PageContent> {
  const { listView, panels } = message ?? {};
  if ((listView === undefined) === (panels === undefined))
    throw invalidField('FIELD_REQUIRED', 'content', 'one of list_view and panels is needed');
  if (listView !== undefined) return { kind: 'list', query: new URLSearchParams(listView.query).toString() };
  const { runs, panels: all } = panels!;
  if (runs.length > MOST_RUNS) throw invalidField('FIELD_OUT_OF_RANGE', 'content.panels.runs', `up to ${MOST_RUNS} runs are allowed`);
  const named: PageRun[] = [];
  for (const [index, run] of runs.entries()) named.push(await held(run, `content.panels.runs[${index}]`));
  const twice = named.findIndex(({ runId }, index) => named.findIndex((one) => one.runId === runId) < index);
  if (twice >= 0) throw invalidField('FIELD_OUT_OF_RANGE', `content.panels.runs[${twice}]`, `run ${named[twice]!.runId} is named already`);
  return { kind: 'panels', runs: named, panels: all.map((panel, index) => panelOf(panel, `content.panels.panels[${index}]`)) };
}

function panelOf({ title, text, chart, table, scatter }: v1.Panel, field: string): Panel {
  if ([text, chart, table, scatter].filter((one) => one !== undefined).length !== 1)
    throw invalidField('FIELD_REQUIRED', field, 'one of text, chart, table and scatter is needed');
  if (text !== undefined) return { title, kind: 'text', markdown: text.markdown };
  if (chart !== undefined) {
    const { quantity, axis, logarithmic } = chart;
    quantityIndex(quantity, `${field}.chart.quantity`);
    if (!AXES.includes(axis)) quantityIndex(axis, `${field}.chart.axis`);
    return { title, kind: 'chart', quantity, axis, logarithmic };
  }
  if (scatter !== undefined) {
    const { across, up } = scatter;
    requireNumber(across, `${field}.scatter.across`);
    requireNumber(up, `${field}.scatter.up`);
    return { title, kind: 'scatter', across, up };
  }
  const { figures } = table!;
  if (figures.length === 0 || figures.length > MOST_FIGURES)
    throw invalidField('FIELD_OUT_OF_RANGE', `${field}.table.figures`, `1 to ${MOST_FIGURES} figures are allowed`);
  figures.forEach((name, index) => figureNamed(name, `${field}.table.figures[${index}]`));
  return { title, kind: 'table', figures };
}

function requireNumber(figure: string, field: string): void {
  if (figureNamed(figure, field).kind !== 'number')
    throw invalidField('FIELD_OUT_OF_RANGE', field, `a figure that is a number is needed, and ${figure} is a text`);
}
