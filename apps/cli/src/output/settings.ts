// Prints all settings of a run, by their names in the protocol and in the order of the table of settings.
import { BUDGET_NAMES, presetDefault, timeWords } from '#comparison';
import { settingsTable, type Setting, type v1 } from '#protocol';
import type { Context } from '../command-context.js';
import { percent } from './format.js';
import { toPlain } from './plain-json.js';

type Plain = string | number | boolean | string[] | null | undefined;

/** The budget and the model of a plan. */
type Planned = Partial<Pick<v1.PlanRunResponse, 'budget' | 'hiddenSize'>>;

/** Returns a remark about a setting, which is printed after its value; '' for none. */
export type SettingNote = (setting: Setting, text: string) => string;

/** Remarks on settings that the request left out and that the server computed: the table's words for their rule. */
export function computedRemarks(settings: v1.RunSettings | undefined, asked: v1.RunSettings, plan: Planned): SettingNote {
  return (setting, text) => (asked[setting.name] === undefined ? computedWords(setting, settings?.preset, text, plan) : '');
}

/** Remarks on settings of a fork that its parent has otherwise. */
export function changedRemarks(parent: v1.RunSettings | undefined): SettingNote {
  const plain = toPlain(parent ?? {}) as Record<string, Plain>;
  return (setting, text) => {
    const before = textOf(setting, plain);
    return before === text ? '' : ` (parent: ${before})`;
  };
}

export function printSettings({ output }: Context, settings: v1.RunSettings | undefined, remark: SettingNote = () => ''): void {
  if (settings === undefined) return;
  output.line();
  output.line(output.style('bold', 'Settings'));
  const plain = toPlain(settings) as Record<string, Plain>;
  output.pairs(
    settingsTable().map((setting) => {
      const text = textOf(setting, plain);
      return [setting.field, text + remark(setting, text)];
    }),
  );
}

function textOf(setting: Setting, plain: Record<string, Plain>): string {
  const value = plain[setting.field];
  if (isUnasked(setting.name, value)) return 'none';
  return value === null || value === undefined ? missingText(plain) : valueText(value, setting);
}

/** With a time, a run lacks its steps, and what follows from them, until they are chosen. */
const missingText = ({ time, total_steps: steps, recover_steps: recovery }: Record<string, Plain>): string =>
  time && [steps, recovery].some((one) => one === null || one === undefined) ? "chosen at the run's start" : '-';

/** Says how the server computed a setting that the request left out. */
function computedWords(setting: Setting, preset: string | undefined, text: string, { budget, hiddenSize = 0 }: Planned): string {
  const words = setting.computed ? presetDefault(setting, preset ?? '') : '';
  if (words === '' || words === text) return '';
  const goesByTarget = budget?.prunableShare !== undefined && budget.prunableShareDecides.includes(setting.field);
  const here = [
    ...(goesByTarget ? [`the cost to go is ${percent(budget.prunableShare ?? 0)} of that of heads and units`] : []),
    ...(hiddenSize > 0 && words.includes('hidden size') ? [`the hidden size is ${hiddenSize}`] : []),
  ];
  return ` (${words}${here.length === 0 ? '' : `; here ${here.join(', and ')}`})`;
}

/** A server sends no budget and no time that a run does not have. */
const isUnasked = (name: string, value: Plain): boolean => !value && [...BUDGET_NAMES, 'time'].includes(name);

/** A share with more digits than this is computed, not typed. */
const SHARE_DIGITS_MAX = 6;

/** Returns the value as `launch` takes it. */
function valueText(value: NonNullable<Plain>, { unit, share }: Setting): string {
  if (value === '') return '-';
  if (unit === 'time') return timeWords(Number(value));
  if (share && typeof value === 'number' && String(value).length > SHARE_DIGITS_MAX) return percent(value, 2);
  const text = Array.isArray(value) ? value.join(',') : String(value);
  return unit === '' ? text : `${text} ${value === 1 ? unit.replace(/s$/, '') : unit}`;
}
