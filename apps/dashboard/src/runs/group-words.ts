// Describes groups of runs that are alike in some settings or figures. The server forms the groups.
import { SETTING_FIELDS } from '../forms/run/setting-table.js';

/** The settings that readers look for first. */
const FIRST = ['recipe', 'model', 'target_sparsity', 'total_steps', 'seed'];
const FIGURES = ['model', 'launched_by', 'parent', 'phase', 'restarts'];

export function groupingChoices(): Record<string, string> {
  const names = [...FIGURES, ...SETTING_FIELDS.map(({ name }) => name)];
  const ordered = [...FIRST, ...names.filter((name) => !FIRST.includes(name)).sort()];
  return Object.fromEntries(ordered.map((name) => [name, name.replaceAll('_', ' ')]));
}

/** Returns the conditions that the runs of a group meet; null if a condition can't name one of the group's values. */
export function conditionsOfGroup(by: readonly string[], values: readonly string[]): string[] | null {
  if (values.some((value) => value === '')) return null;
  return by.map((name, index) => `${name}=${values[index]!}`);
}
