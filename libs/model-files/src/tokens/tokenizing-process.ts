// The entry of a process that reads data files, has them encoded, and sends the token bytes in order, a few chunks ahead of the reader.
import type { ChatTemplate } from '../chat-template.js';
import type { DataFile } from '../rows/data-files.js';
import { DocumentRows, type RowReading } from '../rows/document-row.js';
import type { EncodedDocuments } from './encode-worker.js';
import { EncoderPool, type EncoderPoolOptions } from './encoder-pool.js';
import { toErrorMessage, type ErrorMessage } from '../model-files.errors.js';
import type { SourceDocument } from '../rows/read-bytes.js';
import { readDocuments, requireUnpackable } from '../rows/read-documents.js';
import { readingProcess, type ReadingProcess } from '../reading-process.js';
import { isTokenShard, readTokenShard, TOKENS } from './token-shards.js';
import { UnpackBudget } from '../rows/unpack-budget.js';

export interface TokenizeTask extends Omit<EncoderPoolOptions, 'isContinuous'> {
  files: DataFile[];
  /**
   * The place at which to begin: the files before it are skipped, and the first items of the next file. Items are documents, or tokens of a
   * file of tokens.
   */
  from: TextPosition;
  reading: RowReading;
  chatTemplate: ChatTemplate | null;
}
interface TextPosition {
  file: number;
  items: number;
}
export type TokenizeMessage =
  | { kind: 'tokens'; bytes: Uint8Array; begin: TextPosition; documents: number; bytesRead: number }
  | { kind: 'done' }
  | { kind: 'failed'; error: ErrorMessage };

const BATCH_CHARACTERS = 1 << 18;
const CHUNKS_AHEAD = 8;

let chunksUnread = 0;
let wakeUp: (() => void) | undefined;

type Reader = ReadingProcess<TokenizeMessage>;
interface Batch {
  ids: Promise<EncodedDocuments>;
  documents: number;
  begin: TextPosition;
}

async function tokenize({ files, from, reading, chatTemplate, ...encoderData }: TokenizeTask, reader: Reader): Promise<void> {
  const pool = new EncoderPool({ ...encoderData, isContinuous: true });
  const inFlight: Batch[] = [];
  let bytesRead = 0;
  const sendOldest = async () => {
    const { ids, documents, begin } = inFlight.shift()!;
    await send(reader, { kind: 'tokens', bytes: littleEndian((await ids).ids), begin, documents, bytesRead });
  };
  try {
    let documents: SourceDocument[] = [];
    let characters = 0;
    let begin = from;
    const flush = async () => {
      if (documents.length === 0) return;
      inFlight.push({ ids: pool.encode(documents), documents: documents.length, begin });
      documents = [];
      characters = 0;
      if (inFlight.length >= pool.depth) await sendOldest();
    };
    const onBytes = (bytes: number): void => {
      bytesRead += bytes;
    };
    const finish = async () => {
      await flush();
      while (inFlight.length > 0) await sendOldest();
    };
    await requireUnpackable(files);
    const rows = new DocumentRows(reading, chatTemplate);
    const budget = new UnpackBudget();
    for (const [number, file] of files.entries()) {
      if (number < from.file) {
        onBytes(file.bytes);
        continue;
      }
      const passedOver = number === from.file ? from.items : 0;
      let items = 0;
      if (isTokenShard(file)) {
        rows.requireWhole(file.path, TOKENS);
        await finish();
        for await (const ids of readTokenShard(file, encoderData.vocabularySize, budget, onBytes)) {
          const first = Math.min(Math.max(passedOver - items, 0), ids.length);
          const place = { file: number, items: items + first };
          items += ids.length;
          if (first === ids.length) continue;
          await send(reader, { kind: 'tokens', bytes: littleEndian(ids.slice(first)), begin: place, documents: 0, bytesRead });
        }
        continue;
      }
      for await (const document of readDocuments(file, rows, budget, onBytes)) {
        items += 1;
        if (items <= passedOver || document.text === '') continue; // an empty document would only give a start token
        if (documents.length === 0) begin = { file: number, items: items - 1 };
        documents.push(document);
        characters += document.text.length;
        if (characters >= BATCH_CHARACTERS) await flush();
      }
    }
    await finish();
  } finally {
    await pool.close();
  }
}

async function send(reader: Reader, message: TokenizeMessage): Promise<void> {
  while (chunksUnread >= CHUNKS_AHEAD)
    await new Promise<void>((resolve) => {
      wakeUp = resolve;
    });
  chunksUnread++;
  reader.send(message);
}

function littleEndian(ids: Uint32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(ids.buffer);
  const isBigEndianMachine = new Uint8Array(new Uint32Array([1]).buffer)[0] === 0;
  if (isBigEndianMachine) bytes.swap32();
  return new Uint8Array(ids.buffer);
}

void readingProcess<TokenizeMessage>(async (task, reader) => {
  reader.onMessage(() => {
    // The reader has taken one chunk.
    chunksUnread--;
    wakeUp?.();
  });
  try {
    await tokenize(task as TokenizeTask, reader);
    reader.send({ kind: 'done' });
  } catch (error) {
    reader.send({ kind: 'failed', error: toErrorMessage(error) });
  }
});
