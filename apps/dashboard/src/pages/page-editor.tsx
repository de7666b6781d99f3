// The form that makes or changes a page: its name, its runs, and its panels in their order. Below the form stands the page as it will be.
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { newRequestId, pageService, runService, troubleOf, type Trouble } from '../api/client.js';
import type { SavedPage } from '../generated/espalier/v1/page_service_pb.js';
import { QUANTITY_TITLES } from '../run/curves/quantities.js';
import { X_AXES } from '../run/curves/x-axis.js';
import { PLOT_TITLES } from '../runs/plots/plot-figures.js';
import { LabelledSelect } from '../ui/labelled-select.js';
import { TroubleNote } from '../ui/pending.js';
import { go, setQuery } from '../ui/router.js';
import { contentOf, MOST_OF_PAGE, moved, NEW_PANELS, type Draft, type DraftPanel, type DraftRun } from './page-draft.js';
import { PAGE_FIGURES, titleOfFigure } from './page-figures.js';
import { Panels } from './panels.js';

const MOST_PANELS = 64;
const LONGEST_NAME = 200;
const LONGEST_TEXT = 65_536;
const KINDS = { text: 'Text', chart: 'Chart', table: 'Table', scatter: 'Scatter' } as const;

interface Props {
  begun: Draft;
  /** The page that is changed; undefined: a new one. */
  page?: SavedPage;
  saved?: () => void;
}

export function PageEditor({ begun, page, saved }: Props) {
  const [draft, setDraft] = useState(begun);
  const [trouble, setTrouble] = useState<Trouble>();
  const requestId = useMemo(newRequestId, []);
  const change = (part: Partial<Draft>): void => setDraft((before) => ({ ...before, ...part }));
  const changePanel = (index: number, panel: DraftPanel): void => change({ panels: draft.panels.with(index, panel) });
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      const base = page === undefined ? { requestId } : { pageId: page.pageId, revision: page.revision };
      const answer = await pageService.savePage({ ...base, name: draft.name, content: contentOf(draft) });
      if (saved === undefined) go(`/pages/${answer.page!.pageId}`);
      else saved();
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <>
      <form class="card page-editor" onSubmit={(event) => void save(event)} aria-label="The page to save">
        <div class="in">
          <div class="bar">
            <h1>{page === undefined ? 'New page' : 'Change the page'}</h1>
            <span class="actions">
              <button type="button" onClick={() => (page === undefined ? history.back() : setQuery({ edit: '' }))}>
                Back
              </button>
              <button class="main" type="submit">
                Save the page
              </button>
            </span>
          </div>
          <TroubleNote trouble={trouble} />
          <label class="name-of-page">
            Name
            <input
              required
              maxLength={LONGEST_NAME}
              value={draft.name}
              onInput={({ currentTarget }) => change({ name: currentTarget.value })}
            />
          </label>
          <Runs runs={draft.runs} changed={(runs) => change({ runs })} troubled={setTrouble} />
          <h2>Panels</h2>
          <ol class="panels-to-edit">
            {draft.panels.map((panel, index) => (
              <li key={index} aria-label={`Panel ${index + 1}`}>
                <div class="bar">
                  <b>{KINDS[panel.kind]}</b>
                  <label>
                    Title
                    <input
                      maxLength={LONGEST_NAME}
                      value={panel.title}
                      onInput={({ currentTarget }) => changePanel(index, { ...panel, title: currentTarget.value })}
                    />
                  </label>
                  <PanelFields panel={panel} changed={(next) => changePanel(index, next)} />
                  <span class="actions">
                    <button
                      type="button"
                      class="plain"
                      disabled={index === 0}
                      aria-label={`Panel ${index + 1} up`}
                      onClick={() => change({ panels: moved(draft.panels, index, -1) })}
                    >
                      ↑
                    </button>
                    <button
                      type="button"
                      class="plain"
                      disabled={index === draft.panels.length - 1}
                      aria-label={`Panel ${index + 1} down`}
                      onClick={() => change({ panels: moved(draft.panels, index, 1) })}
                    >
                      ↓
                    </button>
                    <button
                      type="button"
                      class="plain"
                      aria-label={`Remove panel ${index + 1}`}
                      onClick={() => change({ panels: draft.panels.toSpliced(index, 1) })}
                    >
                      remove
                    </button>
                  </span>
                </div>
                {panel.kind === 'text' && (
                  <textarea
                    aria-label={`Markdown of panel ${index + 1}`}
                    rows={6}
                    maxLength={LONGEST_TEXT}
                    value={panel.markdown}
                    onInput={({ currentTarget }) => changePanel(index, { ...panel, markdown: currentTarget.value })}
                  />
                )}
              </li>
            ))}
          </ol>
          <div class="bar" role="group" aria-label="A panel to add">
            {Object.entries(NEW_PANELS).map(([kind, panel]) => (
              <button
                key={kind}
                type="button"
                disabled={draft.panels.length >= MOST_PANELS}
                onClick={() => change({ panels: [...draft.panels, panel] })}
              >
                Add a {kind}
              </button>
            ))}
          </div>
        </div>
      </form>
      <div class="below">
        <Panels draft={draft} />
      </div>
    </>
  );
}

interface RunsProps {
  runs: DraftRun[];
  changed: (runs: DraftRun[]) => void;
  troubled: (trouble: Trouble | undefined) => void;
}

function Runs({ runs, changed, troubled }: RunsProps) {
  const [named, setNamed] = useState('');
  const reporting = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
      troubled(undefined);
    } catch (error) {
      troubled(troubleOf(error));
    }
  };
  const add = (): Promise<void> =>
    reporting(async () => {
      const { run } = await runService.getRun({ runId: named.trim() });
      if (!runs.some(({ runId }) => runId === run!.runId)) changed([...runs, { runId: run!.runId }]);
      setNamed('');
    });
  const hold = (): Promise<void> =>
    reporting(async () => {
      const { runIds, revisions, digestChains } = await runService.listFigures({ at: runs.map(({ runId }) => ({ runId })) });
      changed(runIds.map((runId, index) => ({ runId, held: { revision: revisions[index]!, chain: digestChains[index]! } })));
    });
  const isAnyHeld = runs.some(({ held }) => held !== undefined);
  return (
    <>
      <h2>Runs</h2>
      <div class="bar" role="group" aria-label="The runs of the page">
        {runs.map(({ runId, held }) => (
          <span key={runId} class="run-of-draft">
            <code>{runId}</code> {held !== undefined && <span class="soft num">revision {String(held.revision)}</span>}
            <button
              type="button"
              class="plain"
              aria-label={`Without run ${runId}`}
              onClick={() => changed(runs.filter((one) => one.runId !== runId))}
            >
              ×
            </button>
          </span>
        ))}
        <label>
          Run
          <input placeholder="its name or id" value={named} onInput={({ currentTarget }) => setNamed(currentTarget.value)} />
        </label>
        <button type="button" disabled={named.trim() === '' || runs.length >= MOST_OF_PAGE} onClick={() => void add()}>
          Add the run
        </button>
        <button type="button" disabled={runs.length === 0} onClick={() => void hold()}>
          Hold all as they are now
        </button>
        {isAnyHeld && (
          <button type="button" onClick={() => changed(runs.map(({ runId }) => ({ runId })))}>
            Follow all
          </button>
        )}
      </div>
      <p class="soft">
        A page shows its runs as they are. A run that is held stays as its record is now, under the digest of the record: the page is a
        report then.
      </p>
    </>
  );
}

function PanelFields({ panel, changed }: { panel: DraftPanel; changed: (panel: DraftPanel) => void }): ComponentChildren {
  if (panel.kind === 'text') return null;
  if (panel.kind === 'chart')
    return (
      <>
        <LabelledSelect
          label="Draw"
          value={panel.quantity}
          options={QUANTITY_TITLES}
          changed={(quantity) => changed({ ...panel, quantity })}
        />
        <LabelledSelect label="over" value={panel.axis} options={X_AXES} changed={(axis) => changed({ ...panel, axis })} />
        <label>
          <input
            type="checkbox"
            checked={panel.logarithmic}
            onChange={({ currentTarget }) => changed({ ...panel, logarithmic: currentTarget.checked })}
          />
          logarithmic
        </label>
      </>
    );
  if (panel.kind === 'scatter')
    return (
      <>
        <LabelledSelect label="Up" value={panel.up} options={PLOT_TITLES} changed={(up) => changed({ ...panel, up })} />
        <LabelledSelect label="Across" value={panel.across} options={PLOT_TITLES} changed={(across) => changed({ ...panel, across })} />
      </>
    );
  const others = Object.fromEntries(Object.entries(PAGE_FIGURES).filter(([name]) => !panel.figures.includes(name)));
  return (
    <>
      {panel.figures.map((name) => (
        <button
          key={name}
          type="button"
          class="plain"
          disabled={panel.figures.length === 1}
          aria-label={`Without ${titleOfFigure(name)}`}
          onClick={() => changed({ ...panel, figures: panel.figures.filter((one) => one !== name) })}
        >
          {titleOfFigure(name)} ×
        </button>
      ))}
      <LabelledSelect
        label="Another column"
        value=""
        options={{ '': 'none', ...others }}
        changed={(name) => name !== '' && changed({ ...panel, figures: [...panel.figures, name] })}
      />
    </>
  );
}
