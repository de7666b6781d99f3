import { create } from '@bufbuild/protobuf';
import { FileEntrySchema, FileKind } from '../../generated/espalier/v1/run_service_pb.js';
import { entryWords, shownEntries, type Wanted } from './file-words.js';

const entry = (name: string, kind: FileKind) => create(FileEntrySchema, { name, kind, bytes: 2_048n });
const entries = [entry('llama', FileKind.MODEL), entry('data', FileKind.FOLDER), entry('train.txt', FileKind.TEXT)];
const shown = (wanted: Wanted, filter = ''): string[] => shownEntries(entries, wanted, filter).map(({ name }) => name);

test('a chooser shows what the field takes, and the folders on the way there', () => {
  expect(shown('model')).toEqual(['llama', 'data']);
  expect(shown('text')).toEqual(['llama', 'data', 'train.txt']);
  expect(shown('folder')).toEqual(['llama', 'data']);
  expect(shown('text', ' TRAIN')).toEqual(['train.txt']);
});

test('an entry says its kind and its size', () => {
  expect(entries.map((one) => entryWords(one).replaceAll('\u2009', ' '))).toEqual(['model, 2.00 KiB', 'folder', 'text, 2.00 KiB']);
});
