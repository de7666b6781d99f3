import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { SavedPageSchema, type PageContentSchema } from '../generated/espalier/v1/page_service_pb.js';
import { viewQuery, viewsOf } from './saved-views.js';

describe('views of the list that have a name', () => {
  test('are what an address says of the list, whatever else it says and in whatever order', () => {
    const query = viewQuery(new URLSearchParams('order=perplexity&steps=1-5&q=half&where=&group=recipe%2Cseed'));
    expect(query).toBe('q=half&order=perplexity&group=recipe%2Cseed');
    expect(viewQuery(new URLSearchParams(`group=recipe,seed&${query}`))).toBe(query);
  });

  test('are those of the pages that show the list, by name', () => {
    const page = (name: string, content: MessageInitShape<typeof PageContentSchema>) => create(SavedPageSchema, { name, content });
    const list = (query: string) => ({ listView: { query } });
    const views = viewsOf([page('small', list('order=perplexity&q=a')), page('report', { panels: {} }), page('all', list(''))]);
    expect(views.map(({ name, query }) => [name, query])).toEqual([
      ['all', ''],
      ['small', 'q=a&order=perplexity'],
    ]);
  });
});
