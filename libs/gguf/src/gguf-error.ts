/** The codes of problems with a GGUF file. */
export type GgufProblem =
  | 'GGUF_INVALID' // the file is damaged, or its parts contradict each other
  | 'GGUF_UNSUPPORTED' // a type of tensors, an architecture or a tokenizer that Espalier doesn't know
  | 'GGUF_CHANGED' // the file was written to while it was read
  | 'GGUF_DISK_FULL';

export class GgufError extends Error {
  constructor(
    readonly code: GgufProblem,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const invalid = (message: string): GgufError => new GgufError('GGUF_INVALID', message);
export const unsupported = (message: string): GgufError => new GgufError('GGUF_UNSUPPORTED', message);

/** Returns a text from a file for a message: quoted, and cut to a bearable length. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
