import { create } from '@bufbuild/protobuf';
import { SavedPageSchema } from '../generated/espalier/v1/page_service_pb.js';
import { contentOf, draftOf, draftOfAddress, isReport, moved, newPageAddress, NEW_PANELS, type Draft } from './page-draft.js';

const draft: Draft = {
  name: 'report',
  runs: [{ runId: 'a' }, { runId: 'b', held: { revision: 7n, chain: 'c0ffee' } }],
  panels: [{ title: 'Why', kind: 'text', markdown: '# so' }, { ...NEW_PANELS.chart, title: 'Loss' }, NEW_PANELS.table, NEW_PANELS.scatter],
};

test('a draft that is saved and opened again is the same', () => {
  expect(draftOf(create(SavedPageSchema, { name: draft.name, content: contentOf(draft) }))).toEqual(draft);
});

test('panels move by one place, and not beyond the ends', () => {
  const titles = (index: number, by: -1 | 1): string[] => moved(draft.panels, index, by).map(({ kind }) => kind);
  expect(titles(1, -1)).toEqual(['chart', 'text', 'table', 'scatter']);
  expect(titles(1, 1)).toEqual(['text', 'table', 'chart', 'scatter']);
  expect(titles(0, -1)).toEqual(['text', 'chart', 'table', 'scatter']);
  expect(titles(3, 1)).toEqual(['text', 'chart', 'table', 'scatter']);
});

test('a page is a report where all its runs are held', () => {
  expect([isReport(draft), isReport({ runs: draft.runs.slice(1) }), isReport({ runs: [] })]).toEqual([false, true, false]);
});

test('the page of a comparison begins with its runs and the charts that a reader added to it', () => {
  const address = newPageAddress(['a', 'b'], 'open_units~gradient_norm');
  const begun = draftOfAddress(new URL(address, 'http://host').searchParams);
  expect(begun.runs).toEqual([{ runId: 'a' }, { runId: 'b' }]);
  expect(begun.panels).toMatchObject([{ quantity: 'open_units', axis: 'gradient_norm' }, { kind: 'table' }]);
  expect(draftOfAddress(new URLSearchParams('')).panels).toEqual([NEW_PANELS.chart, NEW_PANELS.table]);
});
