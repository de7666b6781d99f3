// Thread entry: texts in, token ids out.
import { parentPort, workerData } from 'node:worker_threads';
import { EncodeProgress, IDLE, LOADING } from './thread-progress.js';
import { loadTokenizer, type Tokenizer } from './load-tokenizer.js';
import { ModelFilesError, toErrorMessage, type ErrorMessage } from './model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

export interface EncodeWorkerData {
  tokenizerJson: string;
  configJson: string;
  vocabularySize: number;
}
interface EncodeRequest {
  batch: number;
  documents: SourceDocument[];
}
/** The documents' ids one after another, and how many each has. */
export interface EncodedDocuments {
  ids: Uint32Array<ArrayBuffer>;
  lengths: Uint32Array<ArrayBuffer>;
}
export type EncodeResponse = ({ batch: number } & EncodedDocuments) | { batch: number; error: ErrorMessage };

function encodeAll(tokenizer: Tokenizer, { batch, documents }: EncodeRequest, vocabularySize: number): EncodedDocuments {
  let ids = new Uint32Array(1 << 16);
  const lengths = new Uint32Array(documents.length);
  let count = 0;
  for (const [index, document] of documents.entries()) {
    progress.at(batch, index);
    const encoding = tokenizer.encode(document.text, { add_special_tokens: document.hasSpecialTokens !== true });
    lengths[index] = encoding.ids.length;
    if (count + encoding.ids.length > ids.length) {
      const grown = new Uint32Array(Math.max(ids.length * 2, count + encoding.ids.length));
      grown.set(ids.subarray(0, count));
      ids = grown;
    }
    for (let index = 0; index < encoding.ids.length; index++) {
      const id = encoding.ids[index];
      // undefined: the library's answer to a character without a token.
      if (id === undefined || !Number.isInteger(id) || id < 0 || id >= vocabularySize)
        throw mismatch(document, id, encoding.tokens[index], vocabularySize);
      ids[count++] = id;
    }
  }
  return { ids: ids.slice(0, count), lengths };
}

function mismatch(
  { file, line }: SourceDocument,
  id: number | undefined,
  token: string | undefined,
  vocabularySize: number,
): ModelFilesError {
  const given = id === undefined ? `has no id for ${JSON.stringify(token)}` : `gives id ${id} (${JSON.stringify(token)})`;
  return new ModelFilesError(
    'TOKENIZER_MISMATCH',
    `the tokenizer ${given} in ${file}, line ${line}; the model's vocab_size is ${vocabularySize}, ` +
      `so ids from 0 to ${vocabularySize - 1} are allowed: ` +
      'tokenizer.json belongs to another model',
    { field: 'model_path', file, line },
  );
}

const port = parentPort!;
const data = workerData as EncodeWorkerData & { progress: SharedArrayBuffer };
const progress = new EncodeProgress(data.progress);
let tokenizer: Tokenizer | undefined;
port.on('message', (request: EncodeRequest) => {
  const { batch } = request;
  let response: EncodeResponse;
  progress.at(batch, LOADING);
  try {
    tokenizer ??= loadTokenizer(data);
    response = { batch, ...encodeAll(tokenizer, request, data.vocabularySize) };
  } catch (error) {
    response = { batch, error: toErrorMessage(error) };
  }
  progress.at(IDLE, LOADING);
  port.postMessage(response, 'ids' in response ? [response.ids.buffer, response.lengths.buffer] : []);
});
