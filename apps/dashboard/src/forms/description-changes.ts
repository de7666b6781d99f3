// Finds the changes of a run's name, tags and note. Only the changes are sent, so that two people who change different things don't undo
// each other's changes.

interface Words {
  name: string;
  tags: readonly string[];
  note: string;
}

export const tagsIn = (text: string): string[] => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

export function changedWords(before: Words, after: Words): { name?: string; note?: string; addTags: string[]; removeTags: string[] } {
  return {
    ...(after.name === before.name ? {} : { name: after.name }),
    ...(after.note === before.note ? {} : { note: after.note }),
    addTags: after.tags.filter((tag) => !before.tags.includes(tag)),
    removeTags: before.tags.filter((tag) => !after.tags.includes(tag)),
  };
}
