/** Stable codes, which clients receive unchanged. */
export type ModelFilesErrorCode =
  | 'DATA_NOT_FOUND'
  | 'DATA_UNREADABLE'
  | 'DATA_UNSUPPORTED'
  | 'DATA_MALFORMED'
  | 'DATA_EMPTY'
  | 'DATA_CHANGED'
  | 'DATA_TOO_LARGE'
  | 'READER_LOST'
  | 'MODEL_CONFIG_INVALID'
  | 'CHAT_TEMPLATE_NOT_FOUND'
  | 'CHAT_TEMPLATE_INVALID'
  | 'FILE_NOT_REGULAR'
  | 'FILE_TOO_LARGE'
  | 'TOKENIZER_NOT_FOUND'
  | 'TOKENIZER_INVALID'
  | 'TOKENIZER_MISMATCH'
  | 'TOKENIZER_TIMEOUT'
  | 'TOKENIZER_EXPANDS';

export interface ErrorPlace {
  /** The field of the request that named the file, such as "data.train_path". */
  field?: string | undefined;
  file?: string | undefined;
  /** The line of a text file, or the row of a Parquet file, counted from 1. */
  line?: number | undefined;
}

export class ModelFilesError extends Error {
  readonly code: ModelFilesErrorCode;
  field: string | undefined;
  readonly file: string | undefined;
  readonly line: number | undefined;

  constructor(code: ModelFilesErrorCode, message: string, place: ErrorPlace = {}) {
    super(message);
    this.name = 'ModelFilesError';
    this.code = code;
    this.field = place.field;
    this.file = place.file;
    this.line = place.line;
  }
}

export function malformed(file: string, line: number | undefined, what: string): ModelFilesError {
  const place = line === undefined ? file : `${file}, line ${line}`;
  return new ModelFilesError('DATA_MALFORMED', `${place}: ${what}`, { file, line });
}

const LISTED_MAX = 20;
const NAME_MAX = 80;

/** Lists names from a file for a message. The message stays short, whatever the file holds. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, LISTED_MAX).map((name) => (name.length > NAME_MAX ? `${name.slice(0, NAME_MAX)}...` : name));
  const rest = names.length - shown.length;
  return names.length === 0 ? 'none' : `${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

/**
 * An error in a form that can be sent from a thread: a structured clone of an error keeps only its message, not its class or its other
 * properties.
 */
export interface ErrorMessage {
  code: ModelFilesErrorCode | undefined;
  message: string;
  place: ErrorPlace;
}

export function toErrorMessage(error: unknown): ErrorMessage {
  if (error instanceof ModelFilesError) {
    return { code: error.code, message: error.message, place: { field: error.field, file: error.file, line: error.line } };
  }
  return { code: undefined, message: error instanceof Error ? (error.stack ?? error.message) : String(error), place: {} };
}

export function fromErrorMessage(sent: ErrorMessage): Error {
  if (sent.code === undefined) return new Error(sent.message);
  return new ModelFilesError(sent.code, sent.message, sent.place);
}

export function emptyText(paths: readonly string[]): ModelFilesError {
  const file = paths.join(', ');
  return new ModelFilesError('DATA_EMPTY', `${file} holds no text; at least one document that is not empty is needed`, { file });
}
