// Tests of the name, the tags and the note of a run.
import { fact, launched, stateAt, Story, typesOf } from '../testing.js';
import { tagViolations } from './describing.js';
import type { Describe } from './describing.js';

const description = (part: Partial<Describe>): Describe => ({
  kind: 'describe',
  name: undefined,
  addTags: [],
  removeTags: [],
  note: undefined,
  ...part,
});

describe('a run', () => {
  it('is described as a user says, and only changes are recorded', () => {
    const story = new Story(launched());
    const [first] = story.when(description({ name: 'baseline', addTags: ['b', 'a', 'b'], note: 'as published' }));
    expect(first).toMatchObject({
      type: 'RunDescribed',
      data: { name: 'baseline', addedTags: ['a', 'b'], removedTags: [], note: 'as published' },
    });
    expect(story.when(description({ addTags: ['c', 'a'], removeTags: ['b', 'never'], name: 'baseline' }))).toMatchObject([
      { data: { addedTags: ['c'], removedTags: ['b'] } },
    ]);
    expect(story.state).toMatchObject({ name: 'baseline', tags: ['a', 'c'], note: 'as published' });
    expect(story.when(description({ note: '' }))).toHaveLength(1);
    expect(story.state.note).toBe('');
  });
  it('that is described so already gets no event', () => {
    const story = new Story(launched());
    expect(story.when(description({ name: 'tiny', removeTags: ['none'], note: '' }))).toEqual([]);
  });
  it('trains on as before, and may be described while it does and when it has ended', () => {
    const story = new Story(launched()).start();
    story.when(description({ addTags: ['now'] }));
    story.train(stateAt(10, 0.02));
    story.facts.push(fact('RunCancelled', { step: 10, reason: '' }));
    expect(typesOf(story.when(description({ addTags: ['late'] })))).toEqual(['RunDescribed']);
    expect(story.state).toMatchObject({ tags: ['late', 'now'], status: 'cancelled', current: { step: 10 } });
  });
  it('that was deleted is described no more', () => {
    const story = new Story(launched(), fact('RunDeleted', { step: 0, reason: '', artifacts: [] }));
    expect(() => story.when(description({ name: 'other' }))).toThrow(expect.objectContaining({ code: 'RUN_DELETED' }) as Error);
  });
  it('has 64 tags at most, and too many can be made fewer', () => {
    const many = (count: number): string[] => Array.from({ length: count }, (_, index) => `t${index}`);
    const story = new Story(launched());
    story.when(description({ addTags: many(64) }));
    expect(() => story.when(description({ addTags: ['one-more'] }))).toThrow(
      expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'add_tags' }),
    );
    expect(story.when(description({ addTags: ['one-more'], removeTags: ['t0'] }))).toHaveLength(1);
  });
});

test.each(['a b', '', '-x', '+x', 'a,b', 'x\u202e', '"'])('%j is not a tag', (tag) => {
  expect(tagViolations(['ok', tag], 'tags')).toMatchObject([{ field: 'tags[1]', code: 'FIELD_OUT_OF_RANGE' }]);
});
test.each(['7b', 'größe', 'sweep/lr=0.1', 'v1.2', '実験'])('%j is a tag', (tag) => {
  expect(tagViolations([tag], 'tags')).toEqual([]);
});
