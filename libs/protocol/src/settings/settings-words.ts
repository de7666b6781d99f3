// Describes the table of settings in words, for the help of the command line and for a page of the documentation.
import { leastAsked, presetDefault, timeWords } from '#comparison';
import { defaultPreset, isAmount, valueOfText, type SettingValues } from './setting-values.js';
import { settingOfField, settingsTable, type Setting, type SettingName } from './settings-table.js';

/** Returns a text like "0 to 0.95, or in percent" or "tracking or multipliers"; empty where any value is allowed. */
export function allowedWords(setting: Setting): string {
  const { field, kind, allowed, max, divides } = setting;
  if (kind === 'flag') return '';
  if (kind === 'words') return `of ${allowed.join(', ')}`;
  if (allowed.length > 0) return orOf(allowed);
  if (kind === 'bits') return '0 to 2^64 - 1';
  if (max === undefined) return '';
  if (divides !== '') return `what divides ${settingOfField(divides).flag}`;
  const most = mostWords(setting, max);
  const { least, isExcluded } = leastAsked(field, setting);
  if (setting.unit === 'time') return `${timeWords(least)} to ${timeWords(max)}`;
  const range = isExcluded ? `above ${least}, to ${most}` : `${grouped(least)} to ${most}`;
  return setting.share ? `${range}, or in percent` : range;
}

function mostWords({ atMost, withinPositions, withinModel }: Setting, max: number): string {
  if (atMost !== '') return settingOfField(atMost).flag;
  if (withinPositions) return "the model's positions";
  return withinModel ? 'what the model has' : grouped(max);
}

/** Reads a value as `valueOfText` does. If the form is wrong, the error also names the setting's range. @throws RangeError */
export function settingOfText(setting: Setting, text: string): SettingValues[SettingName] {
  try {
    return valueOfText(setting, text);
  } catch (error) {
    const range = ['number', 'whole'].includes(setting.kind) ? allowedWords(setting) : '';
    if (!(error instanceof RangeError) || range === '') throw error;
    if (isAmount(setting)) throw new RangeError(`${error.message.slice(0, -1)}: ${range}.`, { cause: error });
    const what = setting.kind === 'whole' ? 'A whole number' : 'A number';
    const plain = text.trim();
    const hint = setting.share && /^\d+(\.\d+)?$/.test(plain) ? `; ${plain} percent is written ${plain}%` : '';
    throw new RangeError(`${what} is allowed: ${range}${hint}.`);
  }
}

/** Returns the defaults, as in "800; short: 1400; paper: 8750". */
export function defaultWords(setting: Setting): string {
  if (setting.kind === 'flag') return 'off';
  const wordsOf = (preset: string): string => shortList(setting, presetDefault(setting, preset));
  const usual = wordsOf(defaultPreset());
  const others = settingOfField('preset').allowed.filter((preset) => wordsOf(preset) !== usual);
  return [usual, ...others.map((preset) => `${preset}: ${wordsOf(preset)}`)].join('; ');
}

function shortList({ allowed, kind }: Setting, text: string): string {
  return kind === 'words' && text === allowed.join(',') ? 'all of them' : text;
}

function orOf(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

function grouped(value: number): string {
  return Number.isInteger(value) ? value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ',') : String(value);
}

/** Returns docs/settings.md. `npm run settings-page` writes it, and a test compares it with the table. */
export function settingsPage(): string {
  const rows = settingsTable().map((setting) => {
    const fork = setting.forkMayChange ? 'yes' : 'no';
    return [`\`${setting.field}\``, `\`${setting.flag}\``, setting.help, allowedWords(setting), setting.unit, defaultWords(setting), fork];
  });
  const table = [
    ['setting', 'option', 'what it is', 'allowed', 'unit', 'default', 'a fork may change it'],
    Array<string>(7).fill('---'),
    ...rows,
  ];
  return `${HEAD}\n${table.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}\n\n${END}`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

const HEAD = `# Settings

With the model and the data, the settings of a run determine every bit of its result. \`espalier launch\`, \`plan\` and \`fork\` take settings as
options, and \`LaunchRun\` takes them as fields of \`RunSettings\`. A setting that is left out takes the default of the preset: \`nuteprune2\`,
or of the one that is named: \`fisher\` for a real model ([recipes.md](recipes.md)), \`short\`, or \`paper\`, the published scale.
\`espalier plan\` shows all settings for a model.

This page is made from the table in \`proto/espalier/v1/common.proto\` (\`npm run settings-page\`). [HACKING.md](../HACKING.md#add-a-setting)
says how to add a setting.
`;

const END = `## What to do next

[recipes.md](recipes.md) says what the defaults reach and what other values cost; [studies.md](studies.md) compares values on your model.
`;
