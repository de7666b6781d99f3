// The entry of a process that reads the beginning of each file.
import type { ChatTemplate } from './chat-template.js';
import type { DataFile } from './rows/data-files.js';
import { DocumentRows, type RowReading } from './rows/document-row.js';
import { toErrorMessage, type ErrorMessage } from './model-files.errors.js';
import { readDocuments } from './rows/read-documents.js';
import { readingProcess } from './reading-process.js';
import { isTokenShard, readTokenShard, TOKENS } from './tokens/token-shards.js';
import { UnpackBudget } from './rows/unpack-budget.js';

export interface StartTask {
  files: DataFile[];
  reading: RowReading;
  chatTemplate: ChatTemplate | null;
}
/** `hasText`: a document is not empty, or the files hold more documents. */
export type StartMessage = { kind: 'read'; hasText: boolean } | { kind: 'failed'; error: ErrorMessage };

const DOCUMENTS = 20;
/** Accepts ids beyond the vocabulary here. The full reading checks whether the model has a token for each id. */
const ANY_ID = 2 ** 31;

async function hasText({ files, reading, chatTemplate }: StartTask): Promise<boolean> {
  const rows = new DocumentRows(reading, chatTemplate);
  let found = false;
  for (const file of files) {
    if (isTokenShard(file)) {
      rows.requireWhole(file.path, TOKENS);
      for await (const ids of readTokenShard(file, ANY_ID, new UnpackBudget(), () => undefined)) {
        found ||= ids.length > 0;
        break;
      }
      continue;
    }
    let documents = 0;
    for await (const { text } of readDocuments(file, rows, new UnpackBudget(), () => undefined)) {
      documents += 1;
      if (text === '' && documents < DOCUMENTS) continue;
      found = true;
      if (documents >= DOCUMENTS) break;
    }
  }
  return found;
}

void readingProcess<StartMessage>(async (task, reader) => {
  try {
    reader.send({ kind: 'read', hasText: await hasText(task as StartTask) });
  } catch (error) {
    reader.send({ kind: 'failed', error: toErrorMessage(error) });
  }
});
