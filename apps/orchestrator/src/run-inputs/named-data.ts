// The texts of a run as a request names them, before any of them is read.
import { resolve } from 'node:path';
import type { TextSource } from '#model-files';
import { counted, invalidField } from '#protocol';
import type { DataIdentity, DataReading } from '../pruning-run/record/pruning-run.events.js';
import { trainParts } from './train-parts.js';

export interface DataSource extends DataReading {
  trainPath: string;
  trainWeights?: number[]; // the weights of trainPath and of each of moreTrainPaths, which are then mixed
  validationPath: string; // '': none, or that of a fork's parent
  withoutValidation?: true; // for a fork that should not keep its parent's validation text
}

type NamedTexts = DataReading & Pick<DataIdentity, 'trainPath' | 'trainParts' | 'validationPath'>;
type ValidationPart = Pick<
  DataIdentity,
  'validationPath' | 'moreValidationPaths' | 'validationTextColumn' | 'maxValidationTokens' | 'validationDigest' | 'validationTokens'
>;

/** @param parent the data of a fork's parent; its validation text and tokens are kept where the source names no other */
export function namedData(source: DataSource, parent?: DataIdentity): DataIdentity {
  const { trainPath, moreTrainPaths, trainWeights, textColumn, responseOnly, maxTrainTokens } = source;
  const more = moreTrainPaths?.map((path) => resolve(path));
  const paths = [resolve(trainPath), ...(more ?? [])] as const;
  const keepsValidation = source.validationPath === '' && source.withoutValidation !== true && (parent?.validationDigest ?? null) !== null;
  return {
    trainPath: paths[0],
    ...defined({ moreTrainPaths: more }),
    ...defined({ trainParts: trainParts(paths, trainWeights), textColumn, responseOnly, maxTrainTokens }),
    trainDigest: '',
    trainTokens: 0,
    tokenizerDigest: '',
    ...namedValidation(source, keepsValidation),
    ...(keepsValidation && parent !== undefined ? keptValidation(parent, textColumn) : {}),
  };
}

function namedValidation(source: DataSource, keepsParents: boolean): ValidationPart {
  const { validationPath, moreValidationPaths, validationTextColumn, maxValidationTokens } = source;
  if (validationPath === '') requireNoReading(source, keepsParents);
  else if (source.withoutValidation === true)
    throw invalidField('REQUEST_INVALID', 'data.without_validation', 'is set, but validation_path names a text');
  return {
    validationPath: validationPath === '' ? null : resolve(validationPath),
    ...defined({ moreValidationPaths: moreValidationPaths?.map((path) => resolve(path)), validationTextColumn, maxValidationTokens }),
    validationDigest: null,
    validationTokens: 0,
  };
}

/** Refuses options for reading a validation text where the request names none. */
function requireNoReading(source: DataSource, keepsParents: boolean): void {
  const about = {
    more_validation_paths: source.moreValidationPaths,
    validation_text_column: source.validationTextColumn,
    ...(keepsParents ? { max_validation_tokens: source.maxValidationTokens } : {}),
  };
  const [said] = Object.entries(about).find(([, value]) => value !== undefined) ?? [];
  if (said === undefined) return;
  const otherwise = keepsParents ? "; without it the parent's validation text is kept as it is" : '';
  throw invalidField('FIELD_REQUIRED', 'data.validation_path', `is needed: ${said} is about the text that it names${otherwise}`);
}

/** Returns the parent's validation text, which is read as the parent read it, whatever column the fork's own text has. */
function keptValidation(parent: DataIdentity, textColumn: string | undefined): ValidationPart {
  const { validationPath, validationDigest, validationTokens, moreValidationPaths, maxValidationTokens } = parent;
  const column = parent.validationTextColumn ?? parent.textColumn ?? '';
  return {
    validationPath,
    validationDigest,
    validationTokens,
    ...defined({
      moreValidationPaths,
      maxValidationTokens,
      validationTextColumn: column === (textColumn ?? '') ? undefined : column,
    }),
  };
}

/** The sources of a training text, each with its share of the sequences. A limit of tokens holds for each source. */
export function trainTexts(data: NamedTexts): { parts: number; text: TextSource }[] {
  const { trainPath, moreTrainPaths = [], trainParts: parts, textColumn, responseOnly, maxTrainTokens } = data;
  const paths = [trainPath, ...moreTrainPaths];
  const fields = ['data.train_path', ...moreTrainPaths.map((_, index) => `data.more_train_paths[${index}]`)];
  const about = { ...defined({ textColumn, responseOnly }), maxTokens: maxTrainTokens };
  if (parts === undefined) return [{ parts: 1, text: { paths, fields, ...about } }];
  return paths.map((path, index) => ({
    parts: parts[index] ?? 0,
    text: { paths: [path], fields: fields.slice(index, index + 1), ...about },
  }));
}

export function validationText(data: NamedTexts): TextSource | null {
  const { validationPath, moreValidationPaths = [], maxValidationTokens } = data;
  if (validationPath === null) return null;
  return {
    paths: [validationPath, ...moreValidationPaths],
    fields: ['data.validation_path', ...moreValidationPaths.map((_, index) => `data.more_validation_paths[${index}]`)],
    ...defined({ textColumn: (data.validationTextColumn ?? data.textColumn) || undefined }),
    maxTokens: maxValidationTokens,
  };
}

/** The least that is read of a text at a time. */
export interface TokenNeed {
  what: string;
  needed: number;
}

const PLAIN_TEXT = /\.(jsonl?|csv|tsv|txt)$/i;

/**
 * Refuses a text whose files are too small for the tokens that are needed, before any of it is read. A byte is at most one token, and a
 * document, which has one byte or more, adds at most two.
 */
export function requireEnoughBytes({ paths, fields }: TextSource, bytes: number, { what, needed }: TokenNeed): void {
  const most = 3 * bytes + 2;
  if (paths.every((path) => PLAIN_TEXT.test(path)) && most < needed)
    throw invalidField(
      'DATA_TOO_SHORT',
      fields?.[0] ?? 'data.train_path',
      `has ${counted(bytes, 'byte')}, at most ${most} tokens; ${what} takes ${needed}`,
    );
}

/** Leaves out fields that are undefined, since events do not record them. */
function defined<T extends object>(values: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]?: Exclude<T[Name], undefined>;
  };
}
