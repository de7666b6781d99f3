// A chooser of files: the entries of a folder that it shows, and the ones that it takes.
import { FileKind, type FileEntry } from '../generated/espalier/v1/run_service_pb.js';
import { bytes } from '../ui/format.js';

/** A field takes a model, a folder, or a text, which may be a folder of texts too. */
export type Wanted = 'model' | 'folder' | 'text';

export function isChosenBy(entry: Pick<FileEntry, 'kind'>, wanted: Wanted): boolean {
  if (wanted === 'model') return entry.kind === FileKind.MODEL;
  return wanted === 'text' && entry.kind === FileKind.TEXT;
}

/** A model is a folder too, and may hold texts. */
export const isOpened = (entry: Pick<FileEntry, 'kind'>, wanted: Wanted): boolean =>
  entry.kind !== FileKind.TEXT && !isChosenBy(entry, wanted);

/** A folder that is open can be taken as a whole. */
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
