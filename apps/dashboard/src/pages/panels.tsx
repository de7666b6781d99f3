// The panels of a page: texts, charts and tables of its runs.
import { useMemo, useState } from 'preact/hooks';
import { QUANTITIES } from '../run/curves/quantities.js';
import { isRising, lookOfAxis } from '../run/curves/x-axis.js';
import { titleOf } from '../run/curves/own-charts.js';
import { axisName, overlaid } from '../runs/compare/overlaid.js';
import { nameOf } from '../runs/columns.js';
import { plotFigure } from '../runs/plots/plot-figures.js';
import { kindsOf, recipeOf, RunScatter, titleOfScatter } from '../runs/plots/run-scatter.js';
import { Chart } from '../ui/charts/chart.js';
import { SharedCursor } from '../ui/charts/shared-cursor.js';
import { counted } from '../ui/format.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Anchor } from '../ui/router.js';
import { Scroll } from '../ui/scroll.js';
import { usePageData, type ShownRun } from './page-data.js';
import type { Draft, DraftPanel } from './page-draft.js';
import { isNumber, titleOfFigure, wordsOfFigure } from './page-figures.js';
import { TextPanel } from './text-panel.js';

export function Panels({ draft }: { draft: Draft }) {
  const loaded = usePageData(draft);
  const { data: runs, trouble } = loaded;
  if (runs === undefined) return <Pending loaded={loaded} heading="The runs of this page can’t be shown" />;
  return (
    <>
      <TroubleNote trouble={trouble} />
      <RunsOfPage runs={runs} />
      <div class="panels">
        {draft.panels.map((panel, index) => (
          <Panel key={index} panel={panel} runs={runs} page={draft.name} />
        ))}
      </div>
    </>
  );
}

/** Says which runs the page shows, at which revision, and whether they have gone on since. */
function RunsOfPage({ runs }: { runs: readonly ShownRun[] }) {
  if (runs.length === 0) return <p class="soft">The page names no run yet.</p>;
  return (
    <ul class="runs-of-page num" aria-label="Runs of this page">
      {runs.map(({ asked: { held }, run, chain, later }) => (
        <li key={run.runId}>
          <Anchor to={`/runs/${run.runId}`}>{nameOf(run)}</Anchor> <code class="soft">{run.runId}</code>{' '}
          {held === undefined ? (
            <span class="soft">as it is now</span>
          ) : held.chain !== '' && held.chain !== chain ? (
            <span class="trouble">
              its record at revision {String(held.revision)} is not the one that the page names: the digest chain is{' '}
              <code>{chain.slice(0, 12)}</code>, not <code>{held.chain.slice(0, 12)}</code>
            </span>
          ) : (
            <span class="soft">
              as of revision {String(held.revision)}, digest <code>{chain.slice(0, 12)}</code>
              {later > 0 && `; ${counted(later, 'event')} since then`}
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

function Panel({ panel, runs, page }: { panel: DraftPanel; runs: ShownRun[]; page: string }) {
  switch (panel.kind) {
    case 'text':
      return <TextPanel {...panel} />;
    case 'chart':
      return <ChartPanel panel={panel} runs={runs} page={page} />;
    case 'table':
      return <TablePanel panel={panel} runs={runs} />;
    case 'scatter':
      return <ScatterPanel panel={panel} runs={runs} />;
  }
}

/** Names the runs, for files: with the revision of each that is held. */
const sourceOf = (runs: readonly ShownRun[]): string =>
  `Espalier, ${runs
    .map(({ run, asked: { held } }) => `${nameOf(run)} (${run.runId}${held === undefined ? '' : `, revision ${held.revision}`})`)
    .join(', ')}`;

function ScatterPanel({ panel, runs }: { panel: DraftPanel & { kind: 'scatter' }; runs: ShownRun[] }) {
  const [x, y] = [plotFigure(panel.across), plotFigure(panel.up)];
  const all = runs.map(({ run }) => run);
  if (x === undefined || y === undefined)
    return (
      <section class="card empty" aria-label={panel.title || 'Scatter'}>
        <h2>{panel.title || 'Scatter'}</h2>
        <p>This release does not draw {x === undefined ? panel.across : panel.up}.</p>
      </section>
    );
  return (
    <RunScatter
      {...{ runs: all, kindOf: recipeOf, kinds: kindsOf(all, recipeOf), x, y }}
      title={panel.title || titleOfScatter(x, y)}
      source={sourceOf(runs)}
    />
  );
}

interface ChartPanelProps {
  panel: DraftPanel & { kind: 'chart' };
  runs: ShownRun[];
  page: string;
}

function ChartPanel({ panel, runs, page }: ChartPanelProps) {
  const { quantity, axis, logarithmic } = panel;
  const [cursor] = useState(() => new SharedCursor());
  const [log, setLog] = useState<boolean>();
  const picture = QUANTITIES[quantity];
  const title = panel.title || (picture === undefined ? quantity : titleOf({ quantity, axis }));
  const lines = useMemo(() => {
    const groups = runs.map(({ run }) => ({ name: nameOf(run), members: [{ runId: run.runId, name: nameOf(run) }] }));
    const drawn = overlaid(
      runs.map(({ curves }) => curves),
      groups,
      quantity,
      axis,
      0,
      null,
    );
    return { ...drawn, xName: axisName(axis, drawn.x) };
  }, [runs, quantity, axis]);
  if (picture === undefined || lines.curves.length === 0)
    return (
      <section class="card empty" aria-label={title}>
        <h2>{title}</h2>
        <p>No run of this page has these values.</p>
      </section>
    );
  const { isNoisy: _, ...look } = picture;
  return (
    <Chart
      {...look}
      title={title}
      {...lines}
      xLook={lookOfAxis(axis)}
      isPath={!isRising(axis)}
      log={log ?? logarithmic}
      setLog={setLog}
      cursor={cursor}
      fileName={`${page} ${title}`}
      source={sourceOf(runs)}
    />
  );
}

function TablePanel({ panel, runs }: { panel: DraftPanel & { kind: 'table' }; runs: ShownRun[] }) {
  const title = panel.title || 'Figures';
  const all = runs.map(({ run }) => run);
  const side = (name: string): string => (isNumber(all, name) ? 'right' : '');
  return (
    <section class="card wide" aria-label={title}>
      <header>
        <h2>{title}</h2>
      </header>
      <Scroll label={title}>
        <table class="plain num">
          <thead>
            <tr>
              <th>Run</th>
              {panel.figures.map((name) => (
                <th key={name} class={side(name)}>
                  {titleOfFigure(name)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {all.map((run) => (
              <tr key={run.runId}>
                <td>
                  <Anchor to={`/runs/${run.runId}`}>{nameOf(run)}</Anchor>
                </td>
                {panel.figures.map((name) => (
                  <td key={name} class={side(name)}>
                    {wordsOfFigure(run, name)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
