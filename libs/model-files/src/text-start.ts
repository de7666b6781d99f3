// Reads the beginning of a text before the text is used, so that a wrong column, a broken first line or an empty file is reported at once.
import { createHash } from 'node:crypto';
import { programFile } from '#files';
import { readChatTemplate } from './chat-template.js';
import { readTokenizerConfig } from './load-tokenizer.js';
import { emptyText, fromErrorMessage, ModelFilesError } from './model-files.errors.js';
import { filesOf, withField } from './tokens/prepare-tokens.js';
import { messagesFrom, startReading } from './reading-process.js';
import type { TextSource } from './tokens/text-source.js';
import type { StartMessage, StartTask } from './text-start-process.js';

/** The most files of a folder that are checked. */
const FILES_MAX = 64;
/** The longest check. Packed files, and files on a slow disk, take long to their first document. */
const TIME_MS = 10_000;
/** The texts that are remembered as good. */
const GOOD_MAX = 1_000;

/** The digests of tasks whose files began well. A process takes longer to start than to read a beginning, so it reads each only once. */
const good = new Set<string>();

export interface StartOptions {
  /** The folder of the model, whose chat template writes conversations. */
  modelPath: string;
  text: TextSource;
  signal?: AbortSignal;
  timeMs?: number;
}

/**
 * Reads some documents of each file, unless that was done before and the files have not changed. If this takes too long, or the reading
 * process dies, the text is accepted, and the full reading finds its problems.
 * @throws ModelFilesError, or the signal's reason
 */
export async function requireGoodStart({ modelPath, text, signal, timeMs = TIME_MS }: StartOptions): Promise<void> {
  return withField(text, async () => {
    const files = await filesOf(text, signal);
    const configJson = (await readTokenizerConfig(modelPath, signal)).toString('utf8');
    const { textColumn, responseOnly } = text;
    const task: StartTask = {
      files: files.slice(0, FILES_MAX),
      reading: { textColumn, responseOnly },
      chatTemplate: await readChatTemplate(modelPath, configJson, signal),
    };
    const digest = digestOf(task);
    if (good.has(digest)) return;
    const untold = (): ModelFilesError => new ModelFilesError('READER_LOST', 'the beginning was not read in time');
    const enough = AbortSignal.timeout(timeMs);
    try {
      const either = signal === undefined ? enough : AbortSignal.any([signal, enough]);
      const reader = startReading(programFile(new URL('./text-start-process.js', import.meta.url)), task);
      const patience = { silenceMs: timeMs, signal: either, silent: untold, tooLarge: untold };
      for await (const message of messagesFrom<StartMessage>(reader, patience)) {
        if (message.kind === 'failed') throw fromErrorMessage(message.error);
        if (!message.hasText && files.length <= FILES_MAX) throw emptyText(text.paths);
        if (good.size >= GOOD_MAX) good.clear();
        good.add(digest);
        return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (enough.aborted || (error as Partial<ModelFilesError>).code === 'READER_LOST') return;
      throw error;
    }
  });
}

/** A file counts as unchanged while its size and its time of change are the same. */
function digestOf(task: StartTask): string {
  const text = JSON.stringify(task, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  return createHash('sha256').update(text).digest('hex');
}
