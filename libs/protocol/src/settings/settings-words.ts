// Describes the table of settings in words, for the help of the command line and for a page of the documentation.
import { leastAsked, presetDefault } from '#comparison';
import { defaultPreset, isAmount, valueOfText, type SettingValues } from './setting-values.js';
import { settingOfField, settingsTable, type Setting, type SettingName } from './settings-table.js';

/** Returns a text like "0 to 0.95" or "tracking or multipliers"; empty where any value is allowed. */
export function allowedWords(setting: Setting): string {
  const { field, kind, allowed, max, divides } = setting;
  if (kind === 'flag') return '';
  if (kind === 'words') return `of ${allowed.join(', ')}`;
  if (allowed.length > 0) return orOf(allowed);
  if (kind === 'bits') return '0 to 2^64 - 1';
  if (max === undefined) return '';
  if (divides !== '') return `what divides ${settingOfField(divides)!.flag}`;
  const most = mostWords(setting, max);
  const { least, isExcluded } = leastAsked(field, setting);
  return isExcluded ? `above ${least}, to ${most}` : `${grouped(least)} to ${most}`;
}

function mostWords({ atMost, withinPositions, withinModel }: Setting, max: number): string {
  if (atMost !== '') return settingOfField(atMost)!.flag;
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
    const what = setting.kind === 'whole' ? 'A whole number' : setting.share ? 'A number, or a share in percent,' : 'A number';
    throw new RangeError(`${what} is allowed: ${range}.`);
  }
}

/** Returns the defaults, as in "800; short: 1400; paper: 8750". */
export function defaultWords(setting: Setting): string {
  if (setting.kind === 'flag') return 'off';
  const wordsOf = (preset: string): string => shortList(setting, presetDefault(setting, preset));
  const usual = wordsOf(defaultPreset());
  const others = settingOfField('preset')!.allowed.filter((preset) => wordsOf(preset) !== usual);
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
  return `${HEAD}\n${table.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}\n\n${FOOT}`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

const HEAD = `# Settings

What a run trains: with the model and the data its settings determine every bit of the result. They are given to \`espalier launch\`,
\`plan\` and \`fork\` as options, to \`LaunchRun\` as fields of \`RunSettings\`; what is left out takes the default of the preset (\`short\`,
\`paper\`, the published scale, or \`nuteprune2\`, which recovers all weights: [recipes.md](recipes.md)). \`espalier plan\` shows them all for a
model.

This page is made of the table in \`proto/espalier/v1/common.proto\` (\`npm run settings-page\`).
`;

const FOOT = `## Add a setting

1. Add a field with its option \`(setting)\` to \`RunSettings\` in \`proto/espalier/v1/common.proto\`: help, unit, range, defaults, whether a
   fork may change it. \`proto/espalier/v1/setting.proto\` says what each part means. \`before_recorded\` is needed: runs recorded before have no
   such setting, and are read as if they had this value. \`new_in_keys: true\` keeps the keys of studies that earlier releases planned.
2. Use it: \`run.settings.theName\`. Its type follows from the field's.
3. \`npm run settings-page\`.

All else walks the table: the checks of requests, presets, what a fork may change, options of the command line with their help, \`plan\`,
\`show\`, \`diff\`, events and the audit's description of them. More is needed only for

- a default that is computed (\`computed: true\`): a line in \`apps/orchestrator/src/pruning-run/method/run-settings.ts\`, a test holds
  table and code together;
- a rule that binds several settings: \`settingsViolations\` in the same file;
- a new enum: a line in the type \`Stored\` of \`libs/protocol/src/settings/setting-values.ts\`;
- what the engine computes with: the option \`engine\` in the table and a line in \`native-engine/core/session/settings.h\`.
`;
