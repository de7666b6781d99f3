import { viewQuery, viewsOf, withView } from './saved-views.js';

describe('views of the list that have a name', () => {
  test('are what an address says of the list, whatever else it says and in whatever order', () => {
    const query = viewQuery(new URLSearchParams('order=perplexity&steps=1-5&q=half&where=&group=recipe%2Cseed'));
    expect(query).toBe('q=half&order=perplexity&group=recipe%2Cseed');
    expect(viewQuery(new URLSearchParams(`group=recipe,seed&${query}`))).toBe(query);
  });

  test('with the same name replace one another', () => {
    const views = withView(withView([{ name: 'best', query: 'q=1' }], { name: 'all', query: '' }), { name: 'best', query: 'q=2' });
    expect(views).toEqual([
      { name: 'all', query: '' },
      { name: 'best', query: 'q=2' },
    ]);
  });

  test('whatever was stored, only views come of it', () => {
    expect(viewsOf('[{"name":"a","query":"q=1"},{"name":3,"query":"x"},{"name":"b"},null,"c"]')).toEqual([{ name: 'a', query: 'q=1' }]);
    for (const stored of [null, '', '[', 'null', '3', '{}']) expect(viewsOf(stored)).toEqual([]);
  });
});
