// Chooses files and folders of the server's machine.
import { useState } from 'preact/hooks';
import { runService, troubleOf } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { ListFilesResponse } from '../../generated/espalier/v1/run_service_pb.js';
import { count } from '../../ui/format.js';
import { Dialog } from '../../ui/dialog.js';
import { Pending } from '../../ui/pending.js';
import { entryWords, isChosenBy, mayTakeFolder, shownEntries, type Wanted } from './file-words.js';

interface Props {
  title: string;
  wanted: Wanted;
  /** The path near which the chooser begins, if the server lists it. */
  near: string;
  choose: (path: string) => void;
  close: () => void;
}

const BEGINNING = '';

async function listed(folderPath: string, signal: AbortSignal): Promise<ListFilesResponse> {
  try {
    return await runService.listFiles({ folderPath }, { signal });
  } catch (error) {
    if (folderPath === BEGINNING || troubleOf(error).code !== 'PATH_NOT_ALLOWED') throw error;
    return runService.listFiles({ folderPath: BEGINNING }, { signal });
  }
}

/** The chooser stands inside of a form, so it has no form of its own. */
export function FileChooser({ title, wanted, near, choose, close }: Props) {
  const [path, setPath] = useState(near.trim());
  const [filter, setFilter] = useState('');
  const loaded = useLoaded(`files ${path}`, (signal) => listed(path, signal));
  const { data } = loaded;
  const open = (next: string): void => {
    setFilter('');
    setPath(next);
  };
  return (
    <Dialog title={title} close={close}>
      <header>
        <h2>{title}</h2>
      </header>
      <div class="in files">
        <div class="bar">
          {data !== undefined && data.folderPath !== BEGINNING && (
            <button type="button" onClick={() => open(data.parentPath)}>
              Up
            </button>
          )}
          <code>{data === undefined ? path : data.folderPath || 'Folders on the server’s machine'}</code>
          <input
            type="search"
            form="" // so that Enter in it does not send the surrounding form
            class="at-end"
            aria-label="Filter by name"
            placeholder="Name contains"
            value={filter}
            onInput={({ currentTarget }) => setFilter(currentTarget.value)}
          />
        </div>
        {data === undefined ? (
          <Pending loaded={loaded} heading="This folder can’t be shown" />
        ) : (
          <Entries data={data} wanted={wanted} filter={filter} open={open} choose={choose} />
        )}
      </div>
      <footer>
        <button type="button" onClick={close}>
          Back
        </button>
        {mayTakeFolder(wanted) && (
          <button
            type="button"
            class="main"
            disabled={data === undefined || data.folderPath === BEGINNING}
            onClick={() => choose(data!.folderPath)}
          >
            Take this folder
          </button>
        )}
      </footer>
    </Dialog>
  );
}

interface EntriesProps {
  data: ListFilesResponse;
  wanted: Wanted;
  filter: string;
  open: (path: string) => void;
  choose: (path: string) => void;
}

function Entries({ data: { entries, folderPath, leftOut }, wanted, filter, open, choose }: EntriesProps) {
  const shown = shownEntries(entries, wanted, filter);
  return (
    <>
      {shown.length === 0 && <p class="soft">{emptyWords(folderPath, wanted, filter)}</p>}
      <ul>
        {shown.map((entry) => (
          <li key={entry.path}>
            <button type="button" class="plain" onClick={() => (isChosenBy(entry, wanted) ? choose : open)(entry.path)}>
              <b>{entry.name}</b> <span class="soft num">{entryWords(entry)}</span>
            </button>
          </li>
        ))}
      </ul>
      {leftOut > 0 && <p class="soft">{count(leftOut)} more entries of this folder are not shown: type the path of one.</p>}
    </>
  );
}

function emptyWords(folderPath: string, wanted: Wanted, filter: string): string {
  if (filter.trim() !== '') return 'No entry has this in its name.';
  if (folderPath === BEGINNING) return 'The server lists no folder. Its user names folders with --data-root.';
  if (wanted === 'model') return 'This folder holds no model and no folder. A model is a folder with a config.json and weights.';
  return 'This folder holds nothing that this field takes.';
}
