// The name, tags and note that users give a run. No result depends on them. All functions here are pure.
import { invalidRequest, type FieldViolation } from '#protocol';
import type { NewFact, PruningRunEventData } from '../record/pruning-run.events.js';
import type { PruningRunState } from './pruning-run.state.js';

const MOST_TAGS = 64;
/** A tag begins with a letter or digit and has no space or comma, so it is never read as an option or as several tags. */
const TAG = /^[\p{L}\p{N}][\p{L}\p{N}\p{M}._:/=@-]*$/u;

export function tagViolations(tags: readonly string[], field: string): FieldViolation[] {
  return tags.flatMap((tag, index) =>
    TAG.test(tag)
      ? []
      : [
          {
            field: `${field}[${index}]`,
            description: `"${tag}" is not a tag: letters, digits and . _ : / = @ - are allowed, and a letter or a digit comes first`,
            code: 'FIELD_OUT_OF_RANGE',
          },
        ],
  );
}

/** Returns each tag once, in alphabetical order. */
export function sortedTags(tags: Iterable<string>): string[] {
  return [...new Set(tags)].sort();
}

/** A field that is undefined does not change. */
export interface Describe {
  kind: 'describe';
  name: string | undefined;
  addTags: string[];
  removeTags: string[];
  note: string | undefined;
}

/** Returns a fact with the parts of the description that change, or no fact where nothing changes. */
export function describe(run: PruningRunState, { name, addTags, removeTags, note }: Describe, at: string): NewFact[] {
  const addedTags = sortedTags(addTags).filter((tag) => !run.tags.includes(tag));
  const removedTags = sortedTags(removeTags).filter((tag) => run.tags.includes(tag));
  const count = run.tags.length + addedTags.length - removedTags.length;
  if (addedTags.length > 0 && count > MOST_TAGS) {
    const description = `the run would have ${count} tags; at most ${MOST_TAGS} are allowed`;
    throw invalidRequest([{ field: 'add_tags', description, code: 'FIELD_OUT_OF_RANGE' }]);
  }
  const data = {
    ...(name === undefined || name === run.name ? {} : { name }),
    ...(note === undefined || note === run.note ? {} : { note }),
    addedTags,
    removedTags,
  };
  const isChange = data.name !== undefined || data.note !== undefined || addedTags.length + removedTags.length > 0;
  return isChange ? [{ type: 'RunDescribed', at, data }] : [];
}

export function afterDescribe(run: PruningRunState, fact: PruningRunEventData<'RunDescribed'>): PruningRunState {
  const tags = sortedTags([...run.tags.filter((tag) => !fact.removedTags.includes(tag)), ...fact.addedTags]);
  return { ...run, name: fact.name ?? run.name, note: fact.note ?? run.note, tags };
}
