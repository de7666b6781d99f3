// The parts of a run's record that a later release made and this one does not know. A server that was set back to this release would train
// without them, so the run waits for an update.
import { settingsTable } from '#protocol';
import type { Budget, DataIdentity, ModelIdentity, RunSettings } from './pruning-run.events.js';

/** The fields that this release knows. These are records, not lists, so that the compiler asks for every field. */
const OF_DATA: Record<keyof DataIdentity, true> = {
  trainPath: true,
  trainParts: true,
  trainDigest: true,
  trainTokens: true,
  trainSources: true,
  validationPath: true,
  validationDigest: true,
  validationTokens: true,
  tokenizerDigest: true,
  moreTrainPaths: true,
  moreValidationPaths: true,
  textColumn: true,
  validationTextColumn: true,
  responseOnly: true,
  maxTrainTokens: true,
  maxValidationTokens: true,
};
const OF_MODEL: Record<keyof ModelIdentity, true> = {
  path: true,
  weightsDigest: true,
  architecture: true,
  parameterCount: true,
  prunableParameterCount: true,
  weightBytes: true,
  hiddenSize: true,
  layers: true,
  vocabularySize: true,
  maxPositions: true,
  kvHeads: true,
};
const OF_BUDGET: Record<keyof Budget, true> = { setting: true, intact: true, least: true, kvHeads: true, cost: true, speed: true };

/** The names of an object's fields that are not among the known ones, each after the object's own name. */
export const laterFields = (object: object, known: object, name = ''): string[] =>
  Object.keys(object).flatMap((field) => (Object.hasOwn(known, field) ? [] : [name === '' ? field : `${name}.${field}`]));

/** How a later release wants the texts of a run to be read. */
export const laterReading = (data: object): string[] => laterFields(data, OF_DATA, 'data');

/** The settings, and the words among their values. */
export function laterSettings(settings: object): string[] {
  return Object.entries(settings).flatMap(([name, value]) => {
    const allowed = wordsOfSettings().get(name);
    if (allowed === undefined) return [name];
    const words = allowed.length === 0 ? [] : ([value].flat() as string[]);
    return words.filter((word) => !allowed.includes(word)).map((word) => `${name} ${word}`);
  });
}

let words: ReadonlyMap<string, readonly string[]> | undefined;

/** The words that each setting may be, by its name. They are kept, since every waiting run is looked at again and again. */
function wordsOfSettings(): ReadonlyMap<string, readonly string[]> {
  words ??= new Map(settingsTable().map(({ name, allowed }) => [name, allowed]));
  return words;
}

/** The record of a run, as far as it says how the run is trained. */
interface Recorded {
  settings: RunSettings;
  data: DataIdentity;
  model: ModelIdentity;
  budget?: Budget;
}

export const laterParts = ({ settings, data, model, budget }: Recorded): string[] => [
  ...laterSettings(settings),
  ...laterReading(data),
  ...laterFields(model, OF_MODEL, 'model'),
  ...laterFields(budget ?? {}, OF_BUDGET, 'budget'),
];
