// Groups of runs that are alike in some settings or figures, as the server forms them.
import { SETTING_FIELDS } from '../forms/setting-table.js';

/** Readers look for these first. */
const FIRST = ['recipe', 'model', 'target_sparsity', 'total_steps', 'seed'];
const FIGURES = ['model', 'launched_by', 'parent', 'phase', 'restarts'];

export function groupingChoices(): Record<string, string> {
  const names = [...FIGURES, ...SETTING_FIELDS.map(({ name }) => name)];
  const ordered = [...FIRST, ...names.filter((name) => !FIRST.includes(name)).sort()];
  return Object.fromEntries(ordered.map((name) => [name, name.replaceAll('_', ' ')]));
}

/** The conditions that the runs of a group meet; null where it has a value that no condition can name. */
export function conditionsOfGroup(by: readonly string[], values: readonly string[]): string[] | null {
  if (values.some((value) => value === '')) return null;
  return by.map((name, index) => `${name}=${values[index]!}`);
}
