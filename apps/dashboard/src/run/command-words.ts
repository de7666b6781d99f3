// Writes the command line, and the file for --config, by which a user launches a run once more.
import type { DataSource, RunSettings } from '../generated/espalier/v1/common_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { retyped, rewordsOf, SETTING_FIELDS } from '../forms/run/setting-table.js';

type Launched = Pick<Run, 'name' | 'tags' | 'note' | 'modelPath' | 'data' | 'settings'>;

/** Quotes a word so that the shell changes nothing in it. */
export function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

export function launchCommand(run: Launched): string {
  const given: [flag: string, value?: string][] = [
    ['--model', run.modelPath],
    ...dataOptions(run.data),
    ...(run.name === '' ? [] : [['--name', run.name] satisfies [string, string]]),
    ...run.tags.map((tag): [string, string] => ['--tag', tag]),
    ...(run.note === '' ? [] : [['--note', run.note] satisfies [string, string]]),
    ...settingOptions(run.settings),
  ];
  // With "=" a value may begin with a dash.
  const options = given.map(([flag, value]) => (value === undefined ? flag : `${flag}=${shellWord(value)}`));
  return ['npx espalier launch', ...options].join(' \\\n  ');
}

function dataOptions(data: DataSource | undefined): [string, string?][] {
  if (data === undefined) return [];
  const all = (flag: string, paths: string[]): [string, string?][] => paths.filter((path) => path !== '').map((path) => [flag, path]);
  return [
    ...all('--data', trainWords(data)),
    ...all('--validation', [data.validationPath, ...data.moreValidationPaths]),
    ...all('--text-column', [data.textColumn]),
    ...all('--validation-text-column', [data.validationTextColumn ?? '']),
    ...(data.responseOnly ? [['--response-only'] satisfies [string]] : []),
    ...all('--max-train-tokens', [numberText(data.maxTrainTokens)]),
    ...all('--max-validation-tokens', [numberText(data.maxValidationTokens)]),
  ];
}

/** Returns the paths of the training texts, with their weights if texts are mixed. */
export const trainWords = ({ trainPath, moreTrainPaths, trainWeights }: DataSource): string[] =>
  [trainPath, ...moreTrainPaths].map((path, index) => (trainWeights[index] === undefined ? path : `${path}=${trainWeights[index]}`));

const numberText = (value: bigint): string => (value === 0n ? '' : String(value));

function settingOptions(settings: RunSettings | undefined): [string, string?][] {
  const words = rewordsOf(settings);
  return SETTING_FIELDS.flatMap(({ name, flag, kind }): [string, string?][] => {
    const value = words[name];
    if (value === undefined || (kind === 'flag' && value !== 'true')) return [];
    return [kind === 'flag' ? [flag] : [flag, value]];
  });
}

/** Writes the file that `espalier show RUN --yaml` prints. Texts are quoted as in JSON, which YAML reads too. */
export function launchFile(run: Launched): string {
  const { data } = run;
  const typed = retyped(run.settings);
  const words = rewordsOf(run.settings);
  const paths = (all: string[]): string => {
    const known = all.filter((path) => path !== '');
    return known.length === 0 ? '' : JSON.stringify(known.length === 1 ? known[0] : known);
  };
  const lines: [key: string, value: string][] = [
    ['model', JSON.stringify(run.modelPath)],
    ['data', paths(data === undefined ? [] : trainWords(data))],
    ['validation', paths([data?.validationPath ?? '', ...(data?.moreValidationPaths ?? [])])],
    ['text_column', quoted(data?.textColumn)],
    ['validation_text_column', quoted(data?.validationTextColumn)],
    ['response_only', data?.responseOnly === true ? 'true' : ''],
    ['max_train_tokens', numberText(data?.maxTrainTokens ?? 0n)],
    ['max_validation_tokens', numberText(data?.maxValidationTokens ?? 0n)],
    ['name', quoted(run.name)],
    ['tags', run.tags.length === 0 ? '' : JSON.stringify(run.tags)],
    ['note', quoted(run.note)],
  ];
  const settings = SETTING_FIELDS.flatMap(({ name, kind }) => {
    const word = words[name];
    if (word === undefined) return [];
    const value =
      kind === 'list'
        ? JSON.stringify(word.split(','))
        : kind === 'number' || kind === 'flag'
          ? numberOrText(typed[name]!)
          : JSON.stringify(word);
    return [`  ${name}: ${value}`];
  });
  return [...lines.filter(([, value]) => value !== '').map(([key, value]) => `${key}: ${value}`), 'settings:', ...settings, ''].join('\n');
}

const quoted = (text: string | undefined): string => (text === undefined || text === '' ? '' : JSON.stringify(text));

/** Writes a number of 64 bits as a text, because readers of YAML keep only 53 bits. */
function numberOrText(text: string): string {
  return /^\d{16,}$/.test(text) ? JSON.stringify(text) : text;
}
