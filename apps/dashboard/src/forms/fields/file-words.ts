// Decides which entries of a folder the file chooser shows, and which of them can be chosen.
import { FileKind, type FileEntry } from '../../generated/espalier/v1/run_service_pb.js';
import { bytes } from '../../ui/format.js';

/** The kind of path that a field takes: a model, a folder, or a text. A text may be a folder of texts. */
export type Wanted = 'model' | 'folder' | 'text';

export function isChosenBy(entry: Pick<FileEntry, 'kind'>, wanted: Wanted): boolean {
  if (wanted === 'model') return entry.kind === FileKind.MODEL;
  return wanted === 'text' && entry.kind === FileKind.TEXT;
}

/** Tells whether an entry opens as a folder. A model is a folder too, and may hold texts. */
const isOpened = (entry: Pick<FileEntry, 'kind'>, wanted: Wanted): boolean => entry.kind !== FileKind.TEXT && !isChosenBy(entry, wanted);

/** Tells whether the open folder itself can be chosen. */
export const mayTakeFolder = (wanted: Wanted): boolean => wanted !== 'model';

export function shownEntries(entries: readonly FileEntry[], wanted: Wanted, filter: string): FileEntry[] {
  const part = filter.trim().toLowerCase();
  return entries.filter(
    (entry) => (isChosenBy(entry, wanted) || isOpened(entry, wanted)) && (part === '' || entry.name.toLowerCase().includes(part)),
  );
}

export function entryWords({ kind, bytes: size }: Pick<FileEntry, 'kind' | 'bytes'>): string {
  if (kind === FileKind.FOLDER) return 'folder';
  return `${kind === FileKind.MODEL ? 'model' : 'text'}, ${bytes(size)}`;
}
