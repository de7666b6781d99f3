import { BY_SERVER } from '../event-sourcing/call-context.js';
import { expectedState } from '../event-sourcing/aggregate-repository.js';
import { NotBegun } from '../event-sourcing/not-begun-error.js';
import { v1 } from '#protocol';
import { contentOf, pageMessage } from './page-message.js';
import { pageEventTypes, type NewPageFact, type PageContent } from './page.events.js';
import { decide, evolve, type PageChange, type PageState } from './page.js';

const at = '2026-01-02T03:04:05.678Z';
const later = '2027-01-02T03:04:05.678Z';
const context = { ...BY_SERVER, actor: 'ann' };
const list = (query: string): PageContent => ({ kind: 'list', query });
const saved = (name: string, content: PageContent, when = at): NewPageFact => {
  return { type: 'PageSaved', at: when, data: { pageId: 'p', name, content }, context };
};
const given = (...facts: NewPageFact[]): PageState | null => expectedState({ types: pageEventTypes, evolve }, null, facts);
const save = (name: string, content: PageContent, expected?: number): PageChange => ({
  kind: 'save',
  pageId: 'p',
  name,
  content,
  expected,
});

describe('a page', () => {
  test('is made, changed and deleted, and belongs to the caller who made it', () => {
    const first = given(saved('mine', list('q=a')));
    expect(decide(first, save('ours', list('q=b')), later)).toEqual(
      [{ ...saved('ours', list('q=b'), later), context: undefined }].map(({ context: _, ...fact }) => fact),
    );
    const other = { ...saved('ours', list('q=b'), later), context: { ...context, actor: 'ben' } };
    expect(given(saved('mine', list('q=a')), other)).toMatchObject({
      name: 'ours',
      content: list('q=b'),
      madeBy: { actor: 'ann' },
      madeAt: at,
      savedAt: later,
      revision: 1,
    });
    const gone = given(saved('mine', list('q=a')), { type: 'PageDeleted', at, data: { reason: '' } });
    expect(gone).toMatchObject({ isDeleted: true });
    expect(decide(gone, { kind: 'delete', reason: '' }, at)).toEqual([]);
    expect(() => decide(gone, save('back', list('')), at)).toThrow(expect.objectContaining({ code: 'PAGE_NOT_FOUND' }) as Error);
    expect(() => decide(null, { kind: 'delete', reason: '' }, at)).toThrow(NotBegun);
  });

  test('that another has changed meanwhile is not overwritten, and the same page is not saved twice', () => {
    const now = given(saved('mine', list('q=a')), saved('mine', list('q=b')));
    expect(() => decide(now, save('mine', list('q=c'), 0), at)).toThrow(expect.objectContaining({ code: 'PAGE_CHANGED' }) as Error);
    expect(decide(now, save('mine', list('q=c'), 1), at)).toHaveLength(1);
    expect(decide(now, save('mine', list('q=b')), at)).toEqual([]);
  });
});

describe('the content of a page', () => {
  const held = async (run: v1.PageRun) => ({ runId: run.runId, held: { revision: Number(run.revision), chain: 'c0ffee' } });
  const panel = (given: Partial<v1.Panel>): v1.Panel => v1.Panel.fromPartial(given);
  const panels = (...all: Partial<v1.Panel>[]): v1.PageContent =>
    v1.PageContent.fromPartial({ panels: { runs: [{ runId: 'a', revision: 7n }], panels: all.map(panel) } });

  test('goes through the record unchanged', async () => {
    const message = panels(
      { title: 'Why', text: { markdown: '# It works' } },
      { title: '', chart: { quantity: 'loss', axis: 'tokens', logarithmic: true } },
      { title: 'Figures', table: { figures: ['perplexity', 'seed'] } },
      { title: '', scatter: { across: 'parameters_left', up: 'boolq acc' } },
    );
    const content = await contentOf(message, held);
    const shown = pageMessage(given(saved('report', JSON.parse(JSON.stringify(content)) as PageContent))!);
    expect(shown.content).toEqual({
      ...message,
      panels: { ...message.panels, runs: [{ runId: 'a', revision: 7n, digestChain: 'c0ffee' }] },
    });
  });

  test.each([
    [v1.PageContent.fromPartial({}), 'FIELD_REQUIRED', 'content'],
    [panels({ title: 'nothing' }), 'FIELD_REQUIRED', 'content.panels.panels[0]'],
    [
      panels({ chart: { quantity: 'lost', axis: 'step', logarithmic: false } }),
      'FIELD_UNKNOWN_VALUE',
      'content.panels.panels[0].chart.quantity',
    ],
    [
      panels({ chart: { quantity: 'loss', axis: 'day', logarithmic: false } }),
      'FIELD_UNKNOWN_VALUE',
      'content.panels.panels[0].chart.axis',
    ],
    [panels({ table: { figures: [] } }), 'FIELD_OUT_OF_RANGE', 'content.panels.panels[0].table.figures'],
    [panels({ table: { figures: ['beauty'] } }), 'FIELD_UNKNOWN_VALUE', 'content.panels.panels[0].table.figures[0]'],
    [v1.PageContent.fromPartial({ panels: { runs: [{ runId: 'a' }, { runId: 'a' }] } }), 'FIELD_OUT_OF_RANGE', 'content.panels.runs[1]'],
  ])('is refused by the name of its field: %#', async (message, code, field) => {
    await expect(contentOf(message, held)).rejects.toMatchObject({ code, violations: [{ field }] });
  });
});
