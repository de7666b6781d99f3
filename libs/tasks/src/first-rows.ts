// Chooses the rows that a limited evaluation asks about.
import type { ScoredTask } from './declaration.js';
import type { TaskRow } from './questions.js';
import { valueAt } from './template.js';

export const hasGroups = (task: ScoredTask): boolean =>
  (task.kind === 'choices' && task.group !== undefined) || (task.kind === 'generation' && task.data.groups === 'folders');

/**
 * Returns the rows that are asked about, each with its index among all rows. A limit counts within each group, as in lm-evaluation-harness,
 * where a group is a task of its own.
 */
export function firstRows(task: ScoredTask, rows: readonly TaskRow[], limit: number): [number, TaskRow][] {
  const column = task.kind === 'choices' ? task.group : undefined;
  const asked = new Map<string, number>();
  return [...rows.entries()].filter(([, { row, group }]) => {
    const name = column === undefined ? (group ?? '') : String(valueAt(row, column));
    const before = asked.get(name) ?? 0;
    asked.set(name, before + 1);
    return before < limit;
  });
}
