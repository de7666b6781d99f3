// Turns prompts into messages of a user: the model's own chat template writes each prompt, up to the beginning of the answer. A template is
// a program from the model's folder, which may never end, or take all memory. So it runs in a process of its own.
import { programFile } from '#files';
import { readChatTemplate, type ChatTemplate } from './chat-template.js';
import { readTokenizerFiles } from './load-tokenizer.js';
import { ModelFilesError } from './model-files.errors.js';
import { messagesFrom, startReading } from './reading-process.js';

export interface ChatTask {
  template: ChatTemplate;
  prompts: readonly string[];
}
export type ChatAnswer = { texts: string[] } | { prompt: number; problem: string };

const SILENCE_MS = 20_000;

/**
 * Returns the written prompts, which hold their special tokens already.
 * @param modelPath the folder of the model
 * @throws ModelFilesError CHAT_TEMPLATE_NOT_FOUND, CHAT_TEMPLATE_INVALID with the field `chat` or `prompts[N]`
 */
export async function chatPrompts(
  modelPath: string,
  prompts: readonly string[],
  signal?: AbortSignal,
  silenceMs = SILENCE_MS,
): Promise<string[]> {
  const { configJson } = await readTokenizerFiles(modelPath, signal);
  const template = await readChatTemplate(modelPath, configJson, signal);
  if (template === null) {
    throw new ModelFilesError(
      'CHAT_TEMPLATE_NOT_FOUND',
      `the model in ${modelPath} has no chat template: neither chat_template.jinja nor chat_template in tokenizer_config.json`,
      { field: 'chat' },
    );
  }
  const task: ChatTask = { template, prompts };
  const child = startReading(programFile(new URL('./chat-process.js', import.meta.url)), task);
  const invalid = (what: string): ModelFilesError =>
    new ModelFilesError('CHAT_TEMPLATE_INVALID', `the chat template of the model in ${modelPath} ${what}`, { field: 'chat' });
  const patience = {
    silenceMs,
    signal,
    silent: () => invalid(`was not done within ${silenceMs / 1_000} s`),
    tooLarge: () => invalid('needs more memory than a text may take'),
  };
  for await (const answer of messagesFrom<ChatAnswer>(child, patience)) {
    if ('texts' in answer) return answer.texts;
    throw new ModelFilesError('CHAT_TEMPLATE_INVALID', `the model's chat template does not take it: ${answer.problem}`, {
      field: `prompts[${answer.prompt}]`,
    });
  }
  throw new Error('the process of the chat template ended without an answer');
}
