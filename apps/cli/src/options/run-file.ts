// Reads and writes the input of a launch, a plan or a fork as a YAML file. Errors name the place of each mistake. A written file makes the
// same run again. The settings are those of the table of settings.
import { stringify, type Pair } from 'yaml';
import { otherTargets, timeWords } from '#comparison';
import { SOURCE_KEYS, withWeights, YamlReader, type SourceChoice } from '#run-files';
import { requestedValues, settingsTable, visibleText, type RequestedValues, type v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import { readYamlText } from './yaml-text.js';

/** The largest file. A run's settings take two kilobytes. */
const FILE_BYTES_MAX = 64 << 10;

/** The options for measuring a speed table. The server chooses the values of options that are left out. */
export interface MeasuredOn {
  on?: string;
  phase?: string;
  context?: number;
  batch?: number;
}

/** The file's keys beside `settings`. Relative paths start from the file's folder. */
export interface RunFile extends SourceChoice {
  name?: string;
  tags?: string[];
  note?: string;
  /** The options for measuring the table of target_speedup first. */
  measure?: MeasuredOn;
  settings: RequestedValues;
}
const TEXTS = ['name', 'note'] as const;
const MEASURE_KEYS = ['on', 'phase', 'context', 'batch'];

/** @throws EspalierError that names the file, the line and the key */
async function readRunFile(path: string): Promise<RunFile> {
  return new RunFileReader(path, await readYamlText(path, '--config', FILE_BYTES_MAX), '--config').read();
}

/** Reads the file of --config; without that option, the file is empty. */
export async function runFileFor({ config }: { config?: string }): Promise<RunFile> {
  return config === undefined ? { settings: {} } : readRunFile(config);
}

/** @throws CliError OPTION_REQUIRED */
export function needed<T>(option: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new CliError('OPTION_REQUIRED', `${option} is needed, or a file that says it: --config FILE`, {
    field: option,
    exitCode: ExitCode.usage,
  });
}

class RunFileReader extends YamlReader {
  read(): RunFile {
    const file: RunFile = { settings: {} };
    const allowed = [...SOURCE_KEYS, ...TEXTS, 'tags', 'measure', 'settings'];
    for (const [key, pair] of this.entries(this.document.contents, 'the file'))
      this.keepMistake(() => {
        const isText = TEXTS.find((name) => name === key);
        if (this.takesSource(file, key, pair)) return;
        if (isText !== undefined) file[isText] = this.textOf(pair, key, 'a text', true);
        else if (key === 'tags') file.tags = this.itemsOf(pair, key);
        else if (key === 'measure') file.measure = this.measureOf(pair);
        else if (key === 'settings') file.settings = this.settingsOf(pair);
        else throw this.unknown(key, pair, allowed);
      });
    this.refuseMistakes();
    if (file.measure !== undefined && file.settings.speedTable !== undefined)
      throw this.problem(undefined, 'measure and settings.speed_table are both there: a table is either measured or read');
    return file;
  }

  private measureOf(pair: Pair): MeasuredOn {
    const measure: MeasuredOn = {};
    for (const [key, inner] of this.entries(pair.value, 'measure')) {
      if (key === 'on' || key === 'phase') measure[key] = this.textOf(inner, key, 'a word');
      else if (key === 'context' || key === 'batch') measure[key] = this.limitOf(inner, key);
      else throw this.unknown(key, inner, MEASURE_KEYS);
    }
    if (measure.on === undefined) throw this.wrong(pair, 'measure', 'on is needed in it: the device of the engine that measures');
    return measure;
  }
}

const trainPaths = ({ data }: v1.Run): string[] =>
  withWeights([data?.trainPath ?? '', ...(data?.moreTrainPaths ?? [])], data?.trainWeights ?? []);

function oneOrList(paths: string[]): string | string[] | undefined {
  return paths.length > 1 ? paths : paths[0] || undefined;
}

/** Returns a file with every setting, which launches the same run again. */
export function runFileOf(run: v1.Run): string {
  const values = requestedValues(run.settings);
  const others = otherTargets(run.settings ?? {});
  const settings = settingsTable().map(({ name, field, kind }) => [field, values[name] ?? (kind === 'flag' ? false : undefined)] as const);
  if (values.time !== undefined) settings.push(['time', timeWords(values.time)]);
  const file = {
    model: run.modelPath,
    data: oneOrList(trainPaths(run)),
    validation: oneOrList([run.data?.validationPath ?? '', ...(run.data?.moreValidationPaths ?? [])]),
    text_column: run.data?.textColumn || undefined,
    validation_text_column: run.data?.validationTextColumn,
    response_only: run.data?.responseOnly || undefined,
    max_train_tokens: Number(run.data?.maxTrainTokens ?? 0n) || undefined,
    max_validation_tokens: Number(run.data?.maxValidationTokens ?? 0n) || undefined,
    name: run.name || undefined,
    tags: run.tags.length === 0 ? undefined : run.tags,
    note: run.note || undefined,
    settings: Object.fromEntries(settings.filter(([field, value]) => value !== undefined && !others.includes(field))),
  };
  const fork =
    run.parentRunId === ''
      ? ''
      : `# A fork of ${run.parentRunId} at step ${run.forkedAtStep}; launched, it begins with the model instead.\n`;
  const head = `# Run ${run.runId}${run.stateDigest === '' ? '' : `, state ${run.stateDigest} at step ${run.step}`}\n`;
  return `${visibleText(head.trimEnd())}\n${fork}${stringify(file, { lineWidth: 0 })}`;
}
