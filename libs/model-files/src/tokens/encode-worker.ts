// The entry of a thread that turns texts into token ids.
import { parentPort, workerData } from 'node:worker_threads';
import { EncodeProgress, IDLE, LOADING } from './thread-progress.js';
import { loadTokenizer, type Tokenizer } from '../load-tokenizer.js';
import { ModelFilesError, toErrorMessage, type ErrorMessage } from '../model-files.errors.js';
import type { SourceDocument } from '../rows/read-bytes.js';
import { SpecialTokens } from './special-tokens.js';
import { CONTEXT_TOKEN } from './token-words.js';
import { withinTokenLimit } from '../tokenizer-limits.js';

export interface EncodeWorkerData {
  tokenizerJson: string;
  configJson: string;
  vocabularySize: number;
  /**
   * The documents lie one after the other in a text. Where the tokenizer puts no special token around a text, its end token follows each
   * document. A model would learn otherwise to go on from one document into the next.
   */
  isContinuous: boolean;
}
interface EncodeRequest {
  batch: number;
  documents: SourceDocument[];
}
/** The tokens of all documents in a row, as words of `token-words.ts`, and the number of tokens of each document. */
export interface EncodedDocuments {
  ids: Uint32Array<ArrayBuffer>;
  lengths: Uint32Array<ArrayBuffer>;
}
export type EncodeResponse = ({ batch: number } & EncodedDocuments) | { batch: number; error: ErrorMessage };

interface Encoder {
  tokenizer: Tokenizer;
  /** The token that ends a text; null: the tokenizer has none. */
  endToken: number | null;
  endsDocuments: boolean;
}

function makeEncoder(data: EncodeWorkerData): Encoder {
  const tokenizer = loadTokenizer(data);
  const marksTexts = tokenizer.encode('', { add_special_tokens: true }).ids.length > 0;
  return { tokenizer, endToken: SpecialTokens.of(data).eos?.id ?? null, endsDocuments: data.isContinuous && !marksTexts };
}

function encodeAll(
  { tokenizer, endToken, endsDocuments }: Encoder,
  { batch, documents }: EncodeRequest,
  vocabularySize: number,
): EncodedDocuments {
  let ids = new Uint32Array(1 << 16);
  const lengths = new Uint32Array(documents.length);
  let count = 0;
  for (const [index, document] of documents.entries()) {
    progress.at(batch, index);
    const encoding = withinTokenLimit(document, () =>
      tokenizer.encode(document.text, { add_special_tokens: document.hasSpecialTokens !== true }),
    );
    const needsEnd = document.endsWithToken === true || (endsDocuments && document.hasSpecialTokens !== true);
    const all = needsEnd && endToken !== null && encoding.ids.at(-1) !== endToken ? [...encoding.ids, endToken] : encoding.ids;
    lengths[index] = all.length;
    if (count + all.length > ids.length) {
      const grown = new Uint32Array(Math.max(ids.length * 2, count + all.length));
      grown.set(ids.subarray(0, count));
      ids = grown;
    }
    const first = count;
    for (let index = 0; index < all.length; index++) {
      const id = all[index];
      // The library gives undefined for a character without a token.
      if (id === undefined || !Number.isInteger(id) || id < 0 || id >= vocabularySize)
        throw mismatch(document, id, encoding.tokens[index], vocabularySize);
      ids[count++] = id;
    }
    if (document.responses !== undefined) markContext(tokenizer, document, ids.subarray(first, count));
  }
  return { ids: ids.slice(0, count), lengths };
}

/** Marks the tokens outside of responses as context. A token at the edge of a response belongs to the response. */
function markContext(tokenizer: Tokenizer, { text, hasSpecialTokens, responses }: SourceDocument, ids: Uint32Array): void {
  const tokensIn = (characters: number): number => {
    const before = tokenizer.encode(text.slice(0, characters), { add_special_tokens: hasSpecialTokens !== true }).ids;
    let equal = 0;
    while (equal < before.length && before[equal] === ids[equal]) equal++;
    return equal;
  };
  const parts = responses!.map(({ from, to }) => ({ first: tokensIn(from), end: to === text.length ? ids.length : tokensIn(to) }));
  let index = 0;
  for (const { first, end } of parts) {
    for (; index < first; index++) ids[index]! |= CONTEXT_TOKEN;
    index = Math.max(index, end);
  }
  for (; index < ids.length; index++) ids[index]! |= CONTEXT_TOKEN;
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
let encoder: Encoder | undefined;
port.on('message', (request: EncodeRequest) => {
  const { batch } = request;
  let response: EncodeResponse;
  progress.at(batch, LOADING);
  try {
    encoder ??= makeEncoder(data);
    response = { batch, ...encodeAll(encoder, request, data.vocabularySize) };
  } catch (error) {
    response = { batch, error: toErrorMessage(error) };
  }
  progress.at(IDLE, LOADING);
  port.postMessage(response, 'ids' in response ? [response.ids.buffer, response.lengths.buffer] : []);
});
