// Writes a run in the layout of MLflow's file store: each experiment is a folder, with a folder for each run, with a file for each metric,
// parameter and tag. docs/tracking.md describes their content.
import { createHash, randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { measureName } from '#comparison';
import { makeFolder } from '#files';
import { requestedValues, settingsTable, v1 } from '#protocol';
import { withWeights } from '#run-files';
import { CliError, ExitCode } from '../cli-error.js';
import { fileError, requireOutsideDataFolder } from '../output/result-files.js';

const EXPERIMENT = 'espalier';
const META = 'meta.yaml';
const RUN_TAG = 'espalier.run_id';
/** The number of characters that are collected for each metric before they are written. */
const BUFFER_CHARACTERS = 1 << 16;
const SOURCE_LOCAL = 4;
const { RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_DELETED } = v1.RunStatus;
/** The numbers of statuses in the store. A run that is not listed here is still running, which is 1. */
const STATUSES: Partial<Record<v1.RunStatus, number>> = {
  [RUN_STATUS_COMPLETED]: 3,
  [RUN_STATUS_FAILED]: 4,
  [RUN_STATUS_CANCELLED]: 5,
  [RUN_STATUS_DELETED]: 5,
};
const UNDER_WAY = 1;

/** A step as `ExportMetrics` writes it. */
type Row = Record<string, number | boolean | null>;
/** The fields that identify a row, and are not metrics. */
const NO_METRICS = new Set(['branch', 'attempt', 'abandoned', 'step']);

/** The ids that the store needs are computed from Espalier's ids, so a run has the same place in each export. */
const digits = (text: string): string => createHash('sha256').update(`espalier ${text}`).digest('hex');
const experimentId = String(BigInt(`0x${digits(EXPERIMENT).slice(0, 14)}`));
const mlflowRunId = (runId: string): string => digits(`run ${runId}`).slice(0, 32);

export interface MlflowPlace {
  folder: string;
  experiment: string;
  run: string;
  incoming: string;
}

/** @throws CliError if something else is there */
export async function findMlflowPlace(folder: string, runId: string, force: boolean): Promise<MlflowPlace> {
  requireOutsideDataFolder(folder, '--out');
  const experiment = join(folder, experimentId);
  const run = join(experiment, mlflowRunId(runId));
  const details = { field: '--out', exitCode: ExitCode.notAllowed };
  if (!(await isStoreOrNothing(folder)))
    throw new CliError('FILE_FOREIGN', `${folder} is not a file store of MLflow`, {
      ...details,
      hint: 'name a folder that does not exist yet',
    });
  const before = await textOf(join(run, 'tags', RUN_TAG));
  if (before === null && (await isThere(run))) throw new CliError('FILE_FOREIGN', `${run} is not of Espalier`, details);
  if (before !== null && !force)
    throw new CliError('FILE_EXISTS', `${folder} has run ${runId} already`, { ...details, hint: '--force to replace it' });
  return { folder, experiment, run, incoming: `${run}.${randomUUID().slice(0, 8)}.incoming` };
}

const isThere = (path: string): Promise<boolean> => stat(path).then(
  () => true,
  () => false,
); // prettier-ignore
const textOf = (path: string): Promise<string | null> => readFile(path, 'utf8').catch(() => null);

/** Tells whether the folder is an MLflow store, or does not exist, or is empty. An experiment is a folder with a meta file. */
async function isStoreOrNothing(folder: string): Promise<boolean> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw fileError(error, folder);
  }
  if (names.length === 0) return true;
  for (const name of names) if (await isThere(join(folder, name, META))) return true;
  return false;
}

/**
 * Writes the run, which appears only when it is complete and replaces an earlier export of it. @param lines JSON Lines, one for each step
 */
export async function writeMlflowRun(place: MlflowPlace, run: v1.Run, lines: AsyncIterable<string>): Promise<number> {
  const { incoming, experiment } = place;
  try {
    for (const name of ['metrics', 'params', 'tags', 'artifacts']) makeFolder(join(incoming, name));
    const steps = await writeMetrics(join(incoming, 'metrics'), run, lines);
    for (const [name, value] of Object.entries(paramsOf(run))) await writeFile(join(incoming, 'params', name), value);
    for (const [name, value] of Object.entries(tagsOf(run))) await writeFile(join(incoming, 'tags', name), value);
    await writeFile(join(incoming, META), yamlOf(runMeta(place, run)));
    if (!(await isThere(join(experiment, META)))) await writeFile(join(experiment, META), yamlOf(experimentMeta(place, run)));
    await rm(place.run, { recursive: true, force: true });
    await rename(incoming, place.run);
    return steps;
  } catch (error) {
    await rm(incoming, { recursive: true, force: true });
    throw fileError(error, place.folder);
  }
}

/**
 * Writes the metrics, and returns the number of steps. Steps of abandoned branches are left out, because a metric has only one line of
 * steps.
 */
async function writeMetrics(folder: string, run: v1.Run, lines: AsyncIterable<string>): Promise<number> {
  const files = new Map<string, { file: FileHandle; text: string }>();
  const add = async (name: string, milliseconds: number, value: number, step: number): Promise<void> => {
    let entry = files.get(name);
    if (entry === undefined) files.set(name, (entry = { file: await open(join(folder, name), 'wx'), text: '' }));
    entry.text += `${Math.round(milliseconds)} ${value} ${step}\n`;
    if (entry.text.length < BUFFER_CHARACTERS) return;
    await entry.file.write(entry.text);
    entry.text = '';
  };
  let milliseconds = run.launchedAt?.getTime() ?? 0;
  let steps = 0;
  try {
    for await (const line of lines) {
      const row = JSON.parse(line) as Row;
      if (row['abandoned'] === true) continue;
      steps += 1;
      milliseconds += Number(row['seconds'] ?? 0) * 1_000;
      for (const [name, value] of Object.entries(row))
        if (value !== null && !NO_METRICS.has(name)) await add(name, milliseconds, Number(value), Number(row['step']));
    }
    for (const one of run.evaluations)
      if (isOfRun(one)) await add(`eval.${measureName(one)}`, one.evaluatedAt?.getTime() ?? 0, one.value, Number(one.step));
    for (const { file, text } of files.values()) await file.write(text);
  } finally {
    for (const { file } of files.values()) await file.close();
  }
  return steps;
}

/**
 * Tells whether an evaluation is exported: the run's headline perplexity, or one of its tasks. Other texts and windows would give other
 * values under the same name.
 */
const isOfRun = ({ subject, abandoned, headline, task }: v1.Evaluation): boolean =>
  subject === 'masked' && !abandoned && (headline || (task !== 'text' && task !== ''));

function paramsOf(run: v1.Run): Record<string, string> {
  const values = requestedValues(run.settings);
  const settings = settingsTable().flatMap(({ name, field }) => (values[name] === undefined ? [] : [[field, String(values[name])]]));
  return {
    ...(Object.fromEntries(settings) as Record<string, string>),
    model: run.modelPath,
    data: withWeights([run.data?.trainPath ?? '', ...(run.data?.moreTrainPaths ?? [])], run.data?.trainWeights ?? []).join(', '),
    validation: [run.data?.validationPath ?? '', ...(run.data?.moreValidationPaths ?? [])].join(', '),
  };
}

function tagsOf(run: v1.Run): Record<string, string> {
  const given = run.tags.map((tag) => [`espalier.tag.${tag.replaceAll(/[^\w.-]/g, '_')}`, tag] as const);
  return {
    ...Object.fromEntries(given),
    'mlflow.runName': nameOf(run),
    'mlflow.user': run.launchedBy,
    'mlflow.source.name': 'espalier',
    'mlflow.source.type': 'LOCAL',
    'mlflow.note.content': run.note,
    [RUN_TAG]: run.runId,
    'espalier.state_digest': run.stateDigest,
  };
}

const nameOf = (run: v1.Run): string => run.name || run.runId;

function runMeta({ run: folder }: MlflowPlace, run: v1.Run): RunMeta {
  const id = mlflowRunId(run.runId);
  return {
    artifact_uri: pathToFileURL(join(folder, 'artifacts')).href,
    end_time: run.endedAt?.getTime() ?? null,
    entry_point_name: '',
    experiment_id: experimentId,
    lifecycle_stage: 'active',
    run_id: id,
    run_name: nameOf(run),
    run_uuid: id,
    source_name: '',
    source_type: SOURCE_LOCAL,
    source_version: '',
    start_time: run.launchedAt?.getTime() ?? 0,
    status: STATUSES[run.status] ?? UNDER_WAY,
    tags: [],
    user_id: run.launchedBy,
  };
}

function experimentMeta({ experiment }: MlflowPlace, run: v1.Run): RunMeta {
  const time = run.launchedAt?.getTime() ?? 0;
  return {
    artifact_location: pathToFileURL(experiment).href,
    creation_time: time,
    experiment_id: experimentId,
    last_update_time: time,
    lifecycle_stage: 'active',
    name: EXPERIMENT,
  };
}

type RunMeta = Record<string, string | number | null | string[]>;

/** Writes a meta file. Texts are quoted as in JSON, which is valid YAML, so that no reader takes a name for a number. */
function yamlOf(meta: RunMeta): string {
  const lines = Object.entries(meta).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  return lines.join('');
}
